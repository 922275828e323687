"""A shard reached over HTTP: MessagePack both ways, connections kept, an answer in time or an error of ours."""

from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from query_api.problems import error_of
from schemas.errors import DeadlineExceeded, QueryError, ShardUnavailable
from schemas.shard import ShardAnswer, ShardLookup, ShardProblem, ShardProducts, ShardSearch

_SLACK_S = 0.05
"""The node keeps its own time; this much later we stop waiting for it."""
_LOOKUP_S = 5.0
_HEADERS = {"Content-Type": "application/msgpack"}

A = TypeVar("A", ShardAnswer, ShardProducts)

_encoder = msgspec.msgpack.Encoder()
_answers = msgspec.msgpack.Decoder(ShardAnswer)
_products = msgspec.msgpack.Decoder(ShardProducts)
_problems = msgspec.msgpack.Decoder(ShardProblem)


class RemoteShard:
    """The shard protocol over HTTP; see :class:`schemas.shard.Shard`."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.url = url.rstrip("/")
        self._session = session
        # Parsed once: it costs as much as encoding the question.
        self._search, self._lookup = URL(f"{self.url}/shard/search"), URL(f"{self.url}/shard/lookup")

    async def search(self, request: ShardSearch) -> ShardAnswer:
        """Raises QueryError for what the node refuses, ShardUnavailable or DeadlineExceeded without an answer."""
        limit_s = (request.wait_ms + request.timeout_ms) / 1000 + _SLACK_S
        return await self._ask(self._search, request, limit_s, _answers)

    async def lookup(self, request: ShardLookup) -> ShardProducts:
        """Raises as :meth:`search`."""
        return await self._ask(self._lookup, request, request.wait_ms / 1000 + _LOOKUP_S, _products)

    async def _ask(self, url: URL, request: msgspec.Struct, limit_s: float, answers: msgspec.msgpack.Decoder[A]) -> A:
        body = _encoder.encode(request)
        try:
            try:
                return await self._post(url, body, limit_s, answers)
            except aiohttp.ServerDisconnectedError:
                # A kept connection that the node had just closed. Questions change nothing: ask again.
                return await self._post(url, body, limit_s, answers)
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
            # Callers are told this, and addresses of nodes are none of their business: they are in the log.
            raise ShardUnavailable(f"a node did not answer: {type(error).__name__}") from error

    async def _post(self, url: URL, body: bytes, limit_s: float, answers: msgspec.msgpack.Decoder[A]) -> A:
        limit = aiohttp.ClientTimeout(total=limit_s)
        async with self._session.post(url, data=body, headers=_HEADERS, timeout=limit) as response:
            raw = await response.read()
            if response.status == 200:
                return answers.decode(raw)
            problem = _problems.decode(raw)
        error = error_of(problem.code, problem.message)
        if isinstance(error, QueryError | DeadlineExceeded):
            raise error
        raise ShardUnavailable(f"{self.url} refused: {problem.code}: {problem.message}")


def open_session() -> aiohttp.ClientSession:
    """A session for talking to our own processes: no cookies, no proxies, no limit on connections."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
