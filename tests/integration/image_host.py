"""A host of pictures on loopback that can be told to misbehave, and that counts what it is asked."""

import asyncio
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer

PICTURE = b"picture"
HTML = b"<!doctype html><title>Sorry</title><h1>Something went wrong"
BOMB_BYTES = 64 * 1024 * 1024
Misbehaving = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ImageHost:
    """Answers by the first part of the path; ``asked`` counts paths, ``connections`` the sockets."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.at_once = self.at_once_max = 0
        self.connections: set[object] = set()
        self.headers: list[dict[str, str]] = []
        self.etag: str | None = '"1"'
        self.picture = PICTURE
        self.modified: str | None = None
        self.location = "/picture"
        self.status = 200
        self.extra: dict[str, str] = {}
        self.over = asyncio.Event()
        self._port: int | None = None

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self._port}/{path}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ImageHost"]:
        app = web.Application()
        app.router.add_get("/{kind}{rest:.*}", self._answer)
        async with TestServer(app, host="0.0.0.0") as server:
            self._port = server.port
            yield self
            self.over.set()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        self.asked[kind] += 1
        self.connections.add(request.transport)
        self.headers.append(dict(request.headers))
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        try:
            answer: Misbehaving = getattr(self, f"_{kind}", self._absent)
            return await answer(request)
        finally:
            self.at_once -= 1

    async def _absent(self, _: web.Request) -> web.StreamResponse:
        raise web.HTTPNotFound

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        headers = {} if self.etag is None else {"ETag": self.etag}
        if self.modified is not None:
            headers["Last-Modified"] = self.modified
        is_known = self.etag is not None and request.headers.get("If-None-Match") == self.etag
        if is_known or (self.etag is None and request.headers.get("If-Modified-Since", "") == self.modified):
            return web.Response(status=304, headers=headers)
        return web.Response(body=self.picture, headers=headers, content_type="text/plain")

    async def _html(self, _: web.Request) -> web.StreamResponse:
        return web.Response(body=HTML, content_type="image/jpeg")

    async def _said(self, _: web.Request) -> web.StreamResponse:
        """Whatever ``status`` and ``extra`` are."""
        return web.Response(status=self.status, headers=self.extra)

    async def _there(self, _: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": self.location})

    async def _loop(self, _: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "/loop"})

    async def _large(self, request: web.Request) -> web.StreamResponse:
        """Its length is not known before it is read."""
        return await self._chunks(request, [b"x" * 100] * 100, {})

    async def _announced(self, _: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * 10_000)

    async def _zipped(self, request: web.Request) -> web.StreamResponse:
        return await self._chunks(request, [zlib.compress(PICTURE)], {"Content-Encoding": "deflate"})

    async def _bomb(self, request: web.Request) -> web.StreamResponse:
        packer = zlib.compressobj(9, wbits=31)
        packed = [packer.compress(bytes(1 << 20)) for _ in range(BOMB_BYTES >> 20)]
        return await self._chunks(request, [b"".join(packed) + packer.flush()], {"Content-Encoding": "gzip"})

    async def _unknown_packing(self, request: web.Request) -> web.StreamResponse:
        return await self._chunks(request, [b"\x00\x01garbage"], {"Content-Encoding": "gzip"})

    async def _hang(self, _: web.Request) -> web.StreamResponse:
        """No answer, until it is over."""
        await self.over.wait()
        raise web.HTTPNotFound

    async def _drip(self, request: web.Request) -> web.StreamResponse:
        """A byte now and then, and no end."""
        response = web.StreamResponse()
        await response.prepare(request)
        while not self.over.is_set():
            await response.write(b"x")
            await asyncio.sleep(0.01)
        return response

    async def _cut(self, request: web.Request) -> web.StreamResponse:
        """Breaks off in the middle."""
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _flaky(self, request: web.Request) -> web.StreamResponse:
        """The first time an error, the second time broken off, then a picture."""
        if self.asked["flaky"] == 1:
            raise web.HTTPBadGateway
        return await (self._cut(request) if self.asked["flaky"] == 2 else self._picture(request))

    async def _chunks(self, request: web.Request, chunks: list[bytes], headers: dict[str, str]) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        return response
