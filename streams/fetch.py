"""Fetching the bytes of pictures: the web with every address checked and pinned, local files, our own store."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from processors.fetching import (
    FetchPolicy,
    FilePlace,
    StoredPlace,
    WebPlace,
    check_address,
    check_below_roots,
    place_of,
)
from schemas.errors import ImageRefused, ImageSourceUnavailable, ImageTooLarge
from schemas.metrics import Metrics
from topics.store import ObjectStore, original_key

_REDIRECTS = (301, 302, 303, 307, 308)
_CONNECTIONS_MAX = 64
_CONNECTIONS_PER_HOST_MAX = 8
_CHUNK_BYTES = 64 * 1024


class PictureFetcher:
    """A PictureSource. Build and close it within the event loop that uses it."""

    def __init__(self, policy: FetchPolicy, store: ObjectStore, metrics: Metrics) -> None:
        self._policy = policy
        self._store = store
        self._metrics = metrics
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(policy),
            limit=_CONNECTIONS_MAX,
            limit_per_host=_CONNECTIONS_PER_HOST_MAX,
            # Names are resolved, and checked, anew for every connection.
            use_dns_cache=False,
            force_close=True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector, headers={"User-Agent": "freshlens"}, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def fetch(self, uri: str, *, timeout_s: float) -> bytes:
        place = place_of(uri, self._policy)
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(timeout_s):
                if isinstance(place, WebPlace):
                    return await self._from_web(place)
                return await asyncio.to_thread(self._from_disk, place)
        except TimeoutError:
            raise ImageSourceUnavailable(f"{uri[:200]}: no picture within {timeout_s} s") from None
        finally:
            elapsed = asyncio.get_running_loop().time() - started
            self._metrics.observe("freshlens_fetch_seconds", elapsed, scheme=uri.partition(":")[0])

    async def close(self) -> None:
        await self._session.close()

    def _from_disk(self, place: FilePlace | StoredPlace) -> bytes:
        try:
            if isinstance(place, StoredPlace):
                return self._store.get(original_key(place.content_hash))
            return self._from_file(place.path)
        except OSError as error:
            raise ImageSourceUnavailable(f"cannot be read: {error}") from error

    def _from_file(self, path: Path) -> bytes:
        real = path.resolve(strict=True)
        check_below_roots(real, self._policy)
        if not real.is_file():
            raise ImageRefused(f"{real} is no file")
        with real.open("rb") as file:
            raw = file.read(self._policy.image_bytes_max + 1)
        self._check_bytes(len(raw))
        return raw

    async def _from_web(self, place: WebPlace) -> bytes:
        for _ in range(self._policy.redirects_max + 1):
            following = await self._asked(place)
            if isinstance(following, bytes):
                return following
            checked = place_of(urljoin(place.url, following), self._policy)
            if not isinstance(checked, WebPlace):
                raise ImageRefused(f"{place.url[:200]} redirects away from the web")
            place = checked
        raise ImageRefused(f"{place.url[:200]}: more than {self._policy.redirects_max} redirects")

    async def _asked(self, place: WebPlace) -> bytes | str:
        """The picture, or where the answer redirects to."""
        try:
            async with self._session.get(place.url, allow_redirects=False) as response:
                if response.status in _REDIRECTS and "Location" in response.headers:
                    return response.headers["Location"]
                if response.status != 200:
                    raise ImageSourceUnavailable(f"{place.url[:200]} answered {response.status}")
                self._check_bytes(response.content_length or 0)
                return await self._body(response.content.iter_chunked(_CHUNK_BYTES))
        except aiohttp.InvalidURL as error:
            raise ImageRefused(f"{place.url[:200]}: {error}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            refusal = _refusal_within(error)
            if refusal is not None:
                raise refusal from error
            raise ImageSourceUnavailable(f"{place.url[:200]}: {type(error).__name__}: {error}") from error

    async def _body(self, chunks: AsyncIterator[bytes]) -> bytes:
        body = bytearray()
        async for chunk in chunks:
            body += chunk
            self._check_bytes(len(body))
        return bytes(body)

    def _check_bytes(self, count: int) -> None:
        if count > self._policy.image_bytes_max:
            raise ImageTooLarge(f"the picture has more than {self._policy.image_bytes_max} bytes")


class CheckedResolver(AbstractResolver):
    """Resolves names to addresses that may be connected to; the connection goes to exactly these."""

    def __init__(self, policy: FetchPolicy) -> None:
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        for *_, address in found:
            # One refused address refuses the name: which one is connected to is not ours to say.
            check_address(str(address[0]), self._policy)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        pass


def _refusal_within(error: BaseException | None) -> ImageRefused | None:
    while error is not None:
        if isinstance(error, ImageRefused):
            return error
        error = error.__cause__ or error.__context__
    return None
