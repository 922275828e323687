"""The encoder as the API sees it: pictures and texts in, vectors of the lane's space out, within a deadline."""

from typing import Protocol, TypeVar

import aiohttp
import msgspec

from query_api.encoder.wire import (
    EncodeAnswer,
    EncodeProblem,
    EncodeRequest,
    EncoderHealth,
    RegionsAnswer,
    RegionsRequest,
)
from query_api.problems import error_of
from schemas.embeddings import Space
from schemas.errors import EncoderUnavailable, InvalidQuery, InvalidRecord, QueryError

_HEADERS = {"Content-Type": "application/msgpack"}
_HEALTH_S = 1.0

T = TypeVar("T")

_answers = msgspec.msgpack.Decoder(EncodeAnswer)
_regions = msgspec.msgpack.Decoder(RegionsAnswer)
_problems = msgspec.msgpack.Decoder(EncodeProblem)
_healths = msgspec.msgpack.Decoder(EncoderHealth)


class QueryEncoder(Protocol):
    """What the search pipeline asks of an encoder."""

    async def encode(self, request: EncodeRequest, *, timeout_s: float) -> EncodeAnswer:
        """The vectors of picture and text.

        Raises:
            EncoderUnavailable: no answer in time.
            InvalidRecord: the picture is none, too large, or the model failed on it.
        """
        ...

    async def regions(self, request: RegionsRequest, *, timeout_s: float) -> RegionsAnswer:
        """Where objects may be in a picture; raises as :meth:`encode`."""
        ...

    async def health(self) -> EncoderHealth:
        """Space and encoder; raises EncoderUnavailable, also for one that serves another space than ours."""
        ...


class RemoteEncoder:
    """A QueryEncoder in another process."""

    def __init__(self, session: aiohttp.ClientSession, url: str, space: Space) -> None:
        self._session = session
        self._url = url
        self._space = space

    async def encode(self, request: EncodeRequest, *, timeout_s: float) -> EncodeAnswer:
        raw = await self._asked("POST", "/encode", msgspec.msgpack.encode(request), timeout_s)
        answer = _decoded(raw, _answers)
        for given, vector in ((request.image, answer.image), (request.text, answer.text)):
            if (given is None) != (vector is None) or (vector is not None and len(vector) != 4 * self._space.dim):
                raise EncoderUnavailable(f"the encoder's vectors are not of space {self._space}")
        return answer

    async def regions(self, request: RegionsRequest, *, timeout_s: float) -> RegionsAnswer:
        return _decoded(await self._asked("POST", "/regions", msgspec.msgpack.encode(request), timeout_s), _regions)

    async def health(self) -> EncoderHealth:
        health = _decoded(await self._asked("GET", "/healthz", None, _HEALTH_S), _healths)
        if health.space != str(self._space):
            raise EncoderUnavailable(f"the encoder serves space {health.space}, this lane is {self._space}")
        return health

    async def _asked(self, method: str, path: str, body: bytes | None, timeout_s: float) -> bytes:
        limit = aiohttp.ClientTimeout(total=max(timeout_s, 0.001))
        try:
            async with self._session.request(
                method, self._url + path, data=body, headers=_HEADERS, timeout=limit
            ) as response:
                raw = await response.read()
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EncoderUnavailable(f"the encoder did not answer: {type(error).__name__}: {error}") from error
        if status == 200:
            return raw
        problem = _decoded(raw, _problems)
        said = error_of(problem.code, problem.message)
        raise said if isinstance(said, InvalidRecord | QueryError) else EncoderUnavailable(problem.message)


class NoEncoder:
    """A lane of given vectors: there is nothing to encode with."""

    def __init__(self, space: Space) -> None:
        self._space = space

    async def encode(self, request: EncodeRequest, *, timeout_s: float) -> EncodeAnswer:  # noqa: ARG002
        """Raises InvalidQuery, which says how else to search."""
        raise InvalidQuery(f"this lane has no encoder: search by a vector of {self._space}, by product_id or by filter")

    async def regions(self, request: RegionsRequest, *, timeout_s: float) -> RegionsAnswer:  # noqa: ARG002
        """Raises as :meth:`encode`."""
        raise InvalidQuery("this lane has no encoder, which is what looks for regions")

    async def health(self) -> EncoderHealth:
        return EncoderHealth(str(self._space), "none")


def _decoded(raw: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise EncoderUnavailable(f"the encoder answered what we cannot read: {error}") from error
