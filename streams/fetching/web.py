"""Pictures from the web: every address checked and pinned, every host in turn, nothing beyond the deadline."""

import asyncio
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypeAlias

import aiohttp
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, stop_before_delay, wait_random_exponential

from processors.fetching.http_answers import conditions, retry_after_s, validators_of
from processors.fetching.policy import (
    Fetched,
    FetchPolicy,
    HasRoom,
    NoRoom,
    Validators,
    WebPlace,
    always,
    check_size,
    redirected,
)
from schemas.errors import ImageRefused, ImageSourceUnavailable, ImageTooLarge
from schemas.metrics import Metrics
from streams.fetching.hosts import Hosts, Line
from streams.fetching.names import Names
from streams.fetching.resolving import Resolver, checked_socket

ATTEMPTS_MAX = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_WORTH_TRYING_AGAIN = {"unreachable", "broken-off", "http-408", "http-500", "http-502", "http-503", "http-504"}
_OTHER_REGION = (301, 307, 400)
_TOLD_TO_REST = (429, 503)
_CONNECT_S_MAX = 5.0
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """One fetch.

    Attributes:
        name: what messages call it; never an address that was signed.
        deadline: of the event loop's clock.
        key: of an object, what validators are of; else they are of the address that answers.
    """

    name: str
    known: Validators | None
    timeout_s: float
    deadline: float
    has_room: HasRoom = always
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An answer that leads on: to another address, or to the region of an object's bucket."""

    location: str
    region: str | None


@dataclass(frozen=True, slots=True)
class _Unwilling:
    status: int
    retry_after_s: float


_Answer: TypeAlias = Fetched | Elsewhere


class WebPictures:
    """Build and close it within the event loop that uses it."""

    def __init__(self, policy: FetchPolicy, metrics: Metrics) -> None:
        self._policy = policy
        self._hosts = Hosts(policy.per_host_max, metrics)
        self._names = Names()
        self._checked = _session(
            aiohttp.TCPConnector(
                resolver=Resolver(self._names, policy),
                socket_factory=partial(checked_socket, policy),
                limit=0,  # the turns at the hosts are the limit
                use_dns_cache=False,
            )
        )
        self._trusted = _session(
            aiohttp.TCPConnector(resolver=Resolver(self._names, None), limit=0, use_dns_cache=False)
        )

    async def close(self) -> None:
        await self._checked.close()
        await self._trusted.close()
        self._names.close()

    async def fetch(self, place: WebPlace, wanted: Wanted) -> Fetched:
        """As ``PictureSource.fetch``; each redirect is a fetch of its own, but for the deadline."""
        for _ in range(self._policy.redirects_max + 1):
            answer = await self.answer(place, wanted)
            if isinstance(answer, Fetched):
                return answer
            place = redirected(place, answer.location, self._policy)
        raise ImageRefused(f"{wanted.name}: more than {self._policy.redirects_max} redirects")

    async def answer(self, place: WebPlace, wanted: Wanted) -> _Answer:
        """What one address answers, asked again where that may help and there is time."""
        left_s = wanted.deadline - asyncio.get_running_loop().time()
        retrying = AsyncRetrying(
            retry=retry_if_exception(_is_worth_trying_again),
            stop=stop_after_attempt(ATTEMPTS_MAX) | stop_before_delay(max(0.0, left_s)),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            reraise=True,
        )
        return await retrying(self._asked, place, wanted)

    async def _asked(self, place: WebPlace, wanted: Wanted) -> _Answer:
        line = (place.origin, wanted.timeout_s)
        async with self._hosts.turn(line, wanted.deadline):
            left_s = wanted.deadline - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout_at(wanted.deadline):
                    answer = await self._talked(place, wanted)
            except aiohttp.InvalidURL as error:
                raise ImageRefused(f"{wanted.name[:200]} is not a web address") from error
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise self._unanswered(line, wanted, error, left_s) from error
            except (ImageTooLarge, NoRoom):
                self._hosts.answered(line)
                raise
            self._hosts.answered(line)
        if isinstance(answer, _Unwilling):
            raise self._unwilling(line, wanted, answer)
        return answer

    async def _talked(self, place: WebPlace, wanted: Wanted) -> _Answer | _Unwilling:
        session = self._trusted if place.is_trusted else self._checked
        key = wanted.key or str(place.url).encode()
        asked = conditions(wanted.known, key)
        async with session.get(place.url, headers=asked, allow_redirects=False) as response:
            headers, status = response.headers, response.status
            if wanted.key is not None and status in _OTHER_REGION and "x-amz-bucket-region" in headers:
                return Elsewhere("", headers["x-amz-bucket-region"])
            if status in _REDIRECTS and "Location" in headers:
                return Elsewhere(headers["Location"], None)
            if status == 304 and asked and wanted.known is not None:
                return Fetched(None, wanted.known)
            if status != 200:
                return _Unwilling(status, retry_after_s(headers, datetime.now(UTC)))
            raw = await _body(response, self._policy, wanted.has_room)
            return Fetched(raw, validators_of(headers, raw, key))

    def _unwilling(self, line: Line, wanted: Wanted, answer: _Unwilling) -> ImageSourceUnavailable:
        if answer.retry_after_s and answer.status in _TOLD_TO_REST:
            self._hosts.told(line, answer.retry_after_s)
        return ImageSourceUnavailable(
            f"{wanted.name[:200]}: {line[0]} answered {answer.status}",
            why=f"http-{answer.status}",
            retry_after_s=answer.retry_after_s,
        )

    def _unanswered(self, line: Line, wanted: Wanted, error: Exception, left_s: float) -> ImageSourceUnavailable:
        why = _why(error)
        if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientResponseError):
            self._hosts.answered(line)
        elif why != "timeout" or left_s >= wanted.timeout_s / 2:
            # One that was asked when redirects or other attempts had taken most of the time did nothing wrong.
            self._hosts.failed(line)
        said = f"no picture within {wanted.timeout_s} s" if why == "timeout" else f"{type(error).__name__}: {error}"
        return ImageSourceUnavailable(f"{wanted.name[:200]}: {line[0]}: {said[:300]}", why=why)


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        # What a host compresses in spite of this is unpacked piece by piece, and counted unpacked.
        headers={"User-Agent": "freshlens", "Accept": "image/*,video/*,*/*;q=0.5", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S_MAX),  # the deadline is the total
        trust_env=False,  # a proxy of the environment would connect wherever it is told
    )


async def _body(response: aiohttp.ClientResponse, policy: FetchPolicy, has_room: HasRoom) -> bytes:
    """Raises ImageTooLarge; NoRoom before there are more bytes than there is room for."""
    body = bytearray()
    announced = response.content_length or 0
    check_size(announced, policy)
    if not has_room(announced):
        raise NoRoom(announced)
    try:
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            body += chunk
            check_size(len(body), policy)
            if not has_room(len(body)):
                raise NoRoom(policy.image_bytes_max)  # how many more will come nobody knows
        return bytes(body)
    finally:
        body.clear()  # an error keeps its frames for a while, and would keep what arrived


def _is_worth_trying_again(error: BaseException) -> bool:
    return isinstance(error, ImageSourceUnavailable) and error.why in _WORTH_TRYING_AGAIN and not error.retry_after_s


def _why(error: Exception) -> str:
    """A word for what went wrong, for the metric, and for whether it is worth trying again at once."""
    if isinstance(error, TimeoutError):  # aiohttp's own are of this kind too
        return "timeout"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "certificate"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "unreachable" if error.os_error.errno == socket.EAI_AGAIN else "no-such-host"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "unreachable"
    return "broken-off"
