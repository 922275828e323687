"""Several processes take connections from one socket: whoever has fewer takes the next one."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from query_api import accepting
from query_api.accepting import SharedSite


async def _hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@asynccontextmanager
async def _serving(listening: socket.socket) -> AsyncIterator[web.AppRunner]:
    """As a process of its own would."""
    app = web.Application()
    app.router.add_get("/", _hello)
    runner = web.AppRunner(app)
    await runner.setup()
    await SharedSite(runner, listening.fileno()).start()
    yield runner
    await runner.cleanup()


async def _answered(listening: socket.socket) -> asyncio.StreamWriter:
    """A connection that stays open after an answer came."""
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
    assert b"hello" in await reader.readuntil(b"hello")
    return writer


async def _connections(listening: socket.socket, count: int) -> list[asyncio.StreamWriter]:
    return await asyncio.gather(*(_answered(listening) for _ in range(count)))


def _open(runner: web.AppRunner) -> int:
    assert runner.server is not None
    return len(runner.server.connections)


async def test_connections_that_come_at_once_are_spread_evenly(listening: socket.socket) -> None:
    async with _serving(listening) as one, _serving(listening) as other:
        writers = await _connections(listening, 4)
        assert (_open(one), _open(other)) == (2, 2)
        for writer in writers:
            writer.close()


async def test_who_has_fewer_takes_most_of_the_next(listening: socket.socket) -> None:
    async with _serving(listening) as busy:
        writers = await _connections(listening, 3)
        async with _serving(listening) as idle:
            writers += [await _answered(listening) for _ in range(3)]
            assert _open(busy) + _open(idle) == 6
            assert _open(idle) >= 2
            for writer in writers:
                writer.close()


async def test_who_stops_leaves_the_socket_to_the_others(listening: socket.socket) -> None:
    async with _serving(listening) as left:
        async with _serving(listening):
            pass
        writers = await _connections(listening, 5)
        assert _open(left) == 5
        for writer in writers:
            writer.close()


async def test_many_connections_are_all_served(listening: socket.socket) -> None:
    async with _serving(listening) as one, _serving(listening) as other:
        writers = await _connections(listening, 100)
        assert _open(one) + _open(other) == 100
        assert min(_open(one), _open(other)) > 20
        for writer in writers:
            writer.close()


async def test_without_file_descriptors_it_rests_instead_of_asking_without_end(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "_EXHAUSTED_PAUSE_S", 0.05)
    async with _serving(listening) as runner:
        (site,) = runner.sites
        assert isinstance(site, SharedSite)
        inherited, asked = site._socket, 0

        class Exhausted:
            """Five times there is no descriptor left."""

            def accept(self) -> tuple[socket.socket, object]:
                nonlocal asked
                asked += 1
                if asked <= 5:
                    raise OSError(errno.EMFILE, "Too many open files")
                return inherited.accept()

            def __getattr__(self, name: str) -> object:
                return getattr(inherited, name)

        site._socket = Exhausted()  # type: ignore[assignment]
        (await _answered(listening)).close()
        assert 6 <= asked <= 7  # it is answered in the end, and was not asked for all the time
