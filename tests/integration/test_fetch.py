"""Fetching over real sockets: limits, redirects, and addresses that are refused after they were resolved."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from processors.fetching import FetchPolicy
from schemas.errors import ImageRefused, ImageSourceUnavailable, ImageTooLarge
from schemas.hashing import content_hash
from schemas.metrics import RecordingMetrics
from streams.fetch import PictureFetcher
from topics.store import FileStore, original_key

OPEN = FetchPolicy(private_allowed=True, image_bytes_max=1000, redirects_max=2)


async def _answer(request: web.Request) -> web.StreamResponse:
    kind = request.match_info["kind"]
    if kind == "large":
        response = web.StreamResponse()  # chunked: its length is not known before it is read
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x" * 100)
        return response
    if kind == "slow":
        await asyncio.sleep(30)
    if kind == "loop":
        raise web.HTTPFound("/loop")
    if kind == "there":
        raise web.HTTPMovedPermanently("/picture")
    if kind == "file":
        raise web.HTTPFound("file:///etc/passwd")
    if kind == "picture":
        return web.Response(body=b"picture", content_type="text/html")
    raise web.HTTPNotFound


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    app = web.Application()
    app.router.add_get("/{kind}", _answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield server


async def fetched(policy: FetchPolicy, store: FileStore, uri: str, timeout_s: float = 5.0) -> bytes:
    fetcher = PictureFetcher(policy, store, RecordingMetrics())
    try:
        return await fetcher.fetch(uri, timeout_s=timeout_s)
    finally:
        await fetcher.close()


@pytest.mark.parametrize("kind", ["picture", "there"])
async def test_the_web(server: TestServer, tmp_path: Path, kind: str) -> None:
    assert await fetched(OPEN, FileStore(tmp_path), str(server.make_url(f"/{kind}"))) == b"picture"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("absent", ImageSourceUnavailable),
        ("large", ImageTooLarge),
        ("loop", ImageRefused),
        ("file", ImageRefused),
    ],
)
async def test_what_the_web_is_refused_for(
    server: TestServer, tmp_path: Path, kind: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await fetched(OPEN, FileStore(tmp_path), str(server.make_url(f"/{kind}")))


async def test_a_host_that_does_not_answer_in_time(server: TestServer, tmp_path: Path) -> None:
    with pytest.raises(ImageSourceUnavailable):
        await fetched(OPEN, FileStore(tmp_path), str(server.make_url("/slow")), timeout_s=0.2)


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1"])
async def test_names_and_odd_forms_that_lead_to_private_addresses_are_refused(
    server: TestServer, tmp_path: Path, host: str
) -> None:
    with pytest.raises(ImageRefused):
        await fetched(replace(OPEN, private_allowed=False), FileStore(tmp_path), f"http://{host}:{server.port}/picture")


async def test_a_name_with_one_private_address_is_refused(
    server: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(*_: Any, **__: Any) -> list[Any]:
        entry = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*entry, ("93.184.216.34", server.port)), (*entry, ("127.0.0.1", server.port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    with pytest.raises(ImageRefused):
        await fetched(replace(OPEN, private_allowed=False), FileStore(tmp_path), "http://rebinding.example/picture")


async def test_files_and_stored_originals(tmp_path: Path) -> None:
    roots, store = tmp_path / "roots", FileStore(tmp_path / "store")
    roots.mkdir()
    (roots / "a.jpg").write_bytes(b"a")
    (roots / "big.jpg").write_bytes(b"x" * 1001)
    (roots / "link.jpg").symlink_to("/etc/hostname")
    policy = replace(OPEN, roots=(roots.resolve(),))
    digest = content_hash(b"stored").hex()
    store.put(original_key(digest), b"stored")
    assert await fetched(policy, store, f"file://{roots}/a.jpg") == b"a"
    assert await fetched(policy, store, f"store://originals/{digest}") == b"stored"
    for uri, error in (
        (f"file://{roots}/none.jpg", ImageSourceUnavailable),
        (f"file://{roots}/big.jpg", ImageTooLarge),
        (f"file://{roots}/link.jpg", ImageRefused),
        (f"file://{roots}/../store/{original_key(digest)}", ImageRefused),
        (f"file://{roots}", ImageRefused),
        (f"store://originals/{'0' * 32}", ImageSourceUnavailable),
    ):
        with pytest.raises(error):
            await fetched(policy, store, uri)
