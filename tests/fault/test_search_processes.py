"""Several search processes behind one socket: connections are spread, and one that is killed is not missed."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import psutil
import pytest

from freshlens.client import AsyncClient
from tests.running import Running

VECTOR = [1.0, 0, 0, 0, 0, 0, 0, 0]
NAMES = ("search", "search-1")

pytestmark = pytest.mark.timeout(300)


async def found(client: AsyncClient, token: str) -> list[str]:
    """The products that a search over a connection of its own finds."""
    answer = await client.search(vector=VECTOR, min_offset=token, wait_ms=30_000)
    assert answer.freshness_met
    return [result.product_id for result in answer.results]


def connections(running: Running) -> list[int]:
    """How many each process has."""
    port = urlsplit(running.url).port
    processes = [psutil.Process(running.run.processes[name]) for name in NAMES]
    return [
        sum(each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port for each in process.net_connections())
        for process in processes
    ]


async def test_connections_are_spread_and_a_killed_process_is_not_missed(tmp_path: Path) -> None:
    with Running(tmp_path / "data", FRESHLENS_ENCODER="none:8", FRESHLENS_SEARCH_PROCESSES="2") as running:
        async with running.client() as client:
            token = (await client.publish([{"product_id": "p", "title": "p", "vector": VECTOR}])).read_token
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(running.client()) for _ in range(6)]
            assert await asyncio.gather(*(found(client, token) for client in clients)) == [["p"]] * 6
            assert min(connections(running)) >= 2

        killed = running.run.processes["search-1"]
        running.kill_role("search-1")
        for _ in range(20):
            async with running.client(retries=0) as client:
                assert await found(client, token) == ["p"]

        running.wait_for("search-1 is back")
        assert running.run.processes["search-1"] != killed
        async with AsyncExitStack() as stack:
            for _ in range(6):
                session = await stack.enter_async_context(aiohttp.ClientSession())
                async with session.get(f"{running.url}/readyz") as response:
                    assert response.status == 200
            assert min(connections(running)) >= 1
