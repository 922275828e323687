"""Products stream in, clients search without pause, a compaction runs, processes are killed: nothing is lost, nothing
haunts, and no search fails while nothing is being killed.

``FRESHLENS_FIRE_PRODUCTS=3000`` makes it as large as the acceptance asks; by default it is small enough for every run.
"""

import asyncio
import base64
import contextlib
import os
import random
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from freshlens.client import ApiError, AsyncClient
from tests.running import Running
from tests.whole.photos import studio

PRODUCTS = int(os.environ.get("FRESHLENS_FIRE_PRODUCTS", "80"))
DELETED_EVERY = 10
CLIENTS = 4
BATCH = 20
WAIT_MS = 30_000
PICTURES = min(PRODUCTS, 3000)

pytestmark = pytest.mark.timeout(1800)

T = TypeVar("T")


class Shoppers:
    """Clients that search without pause, and what they were answered."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self.gone: set[str] = set()
        self.answered = 0
        self.failures: list[str] = []
        self.ghosts: list[str] = []

    async def search_until(self, stop: asyncio.Event, *, tolerate: bool) -> None:
        """Four clients; with ``tolerate`` a refusal while a process is down is no failure, a ghost always is one."""
        await asyncio.gather(*(self._one(stop, number, tolerate=tolerate) for number in range(CLIENTS)))

    async def _one(self, stop: asyncio.Event, seed: int, *, tolerate: bool) -> None:
        choose = random.Random(seed)
        async with self._running.client(retries=0) as client:  # a refusal counts
            while not stop.is_set():
                gone_before = set(self.gone)
                try:
                    answer = await client.search(image=studio(choose.randrange(PICTURES)), k=20)
                except ApiError as error:
                    if not tolerate:
                        self.failures.append(str(error))
                    await asyncio.sleep(0.1)
                    continue
                self.answered += 1
                shown = {result.product_id for result in answer.results}
                self.ghosts += sorted(shown & gone_before)


async def publish(client: AsyncClient, numbers: range) -> str:
    """Publish these products and return the read token."""
    lines = [
        {"product_id": f"p{number}", "image": {"base64": base64.b64encode(studio(number)).decode()}}
        for number in numbers
    ]
    return str((await persist(lambda: client.publish(lines))).read_token)


async def persist(call: Callable[[], Awaitable[T]]) -> T:
    """Try again while something is down, as any client would."""
    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(ApiError, aiohttp.ClientError):
                return await call()
            await asyncio.sleep(0.2)


async def stream_in(running: Running, shoppers: Shoppers, numbers: range) -> None:
    """Publish in batches, and delete every tenth product once it can be seen to be gone."""
    async with running.client() as client:
        for start in range(numbers.start, numbers.stop, BATCH):
            batch = range(start, min(start + BATCH, numbers.stop))
            await publish(client, batch)
            for number in batch:
                if number % DELETED_EVERY == 0:
                    await delete(client, shoppers, f"p{number}")


async def delete(client: AsyncClient, shoppers: Shoppers, product_id: str) -> None:
    """Delete, wait until the API says that the deletion is in, and only then expect it to be gone."""
    token = (await persist(lambda: client.delete(product_id))).read_token
    answer = await persist(
        lambda: client.search(filter={"product_id": product_id}, min_offset=token, wait_ms=WAIT_MS, require=True)
    )
    assert answer.results == []
    shoppers.gone.add(product_id)


async def missing_and_haunting(running: Running, count: int) -> tuple[list[int], list[int]]:
    """Which products are not found by their own picture, and which deleted ones are, once everything is applied."""
    missing: list[int] = []
    haunting: list[int] = []
    async with running.client() as client:
        token = await publish(client, range(1, 2))
        await persist(
            lambda: client.search(filter={"product_id": "p1"}, min_offset=token, wait_ms=WAIT_MS, require=True)
        )
        numbers = iter(range(count))

        async def look() -> None:
            for number in numbers:
                answer = await persist(partial(client.search, image=studio(number), k=5))
                found = f"p{number}" in [result.product_id for result in answer.results]
                if number % DELETED_EVERY == 0 and found:
                    haunting.append(number)
                if number % DELETED_EVERY and not found:
                    missing.append(number)

        await asyncio.gather(*(look() for _ in range(CLIENTS)))
    return missing, haunting


async def under_fire(running: Running, numbers: range, fire: Any, *, tolerate: bool) -> Shoppers:
    """Stream products in beside searches and whatever ``fire`` does."""
    shoppers, stop = Shoppers(running), asyncio.Event()
    searching = asyncio.create_task(shoppers.search_until(stop, tolerate=tolerate))
    await asyncio.gather(stream_in(running, shoppers, numbers), fire())
    stop.set()
    await searching
    return shoppers


def test_nothing_is_lost_and_nothing_haunts(tmp_path: Path) -> None:
    half = PRODUCTS // 2
    with Running(tmp_path / "data") as running:

        async def compact() -> None:
            done = await asyncio.to_thread(running.freshlens, "compact", "--wait")
            assert done.returncode == 0, done.stdout + done.stderr

        shoppers = asyncio.run(under_fire(running, range(half), compact, tolerate=False))
        assert shoppers.failures == []
        assert shoppers.ghosts == []
        assert shoppers.answered > 0
        assert asyncio.run(missing_and_haunting(running, half)) == ([], [])

        async def kill_each() -> None:
            for role in ("embed", "deletes", "encoder", "search", "feedback", "compactor", "kafka"):
                before = running.run.processes[role]
                running.kill_role(role)
                async with asyncio.timeout(120):
                    while running.run.processes[role] in (0, before):
                        await asyncio.sleep(0.1)
                    await persist(lambda: _ready(running))

        shoppers = asyncio.run(under_fire(running, range(half, PRODUCTS), kill_each, tolerate=True))
        assert shoppers.ghosts == []
        assert asyncio.run(missing_and_haunting(running, PRODUCTS)) == ([], [])

        assert running.stop() == 0
        running.start()
        assert asyncio.run(missing_and_haunting(running, PRODUCTS)) == ([], [])

        running.kill()
        running.start()
        assert asyncio.run(missing_and_haunting(running, PRODUCTS)) == ([], [])


async def _ready(running: Running) -> None:
    async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(f"{running.url}/readyz"):
        pass
