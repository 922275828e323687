"""Name servers that are silent or slow hold up their own names and no others."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from processors.fetching.policy import FetchPolicy
from schemas.errors import ImageSourceUnavailable
from schemas.metrics import RecordingMetrics
from streams.fetching import names
from streams.fetching.fetcher import PictureFetcher
from streams.fetching.names import PER_ZONE_MAX, Names
from tests.integration.image_host import PICTURE, ImageHost
from topics.store import FileStore

POLICY = FetchPolicy(private_allowed=True)


@pytest.fixture
async def host() -> AsyncIterator[ImageHost]:
    async with ImageHost().running() as host:
        yield host


@asynccontextmanager
async def fetching(tmp_path: Path) -> AsyncIterator[PictureFetcher]:
    fetcher = PictureFetcher(POLICY, FileStore(tmp_path / "store"), RecordingMetrics())
    try:
        yield fetcher
    finally:
        await fetcher.close()


@asynccontextmanager
async def looking_up() -> AsyncIterator[Names]:
    looking_up = Names()
    try:
        yield looking_up
    finally:
        looking_up.close()


async def why(fetcher: PictureFetcher, uri: str) -> str:
    with pytest.raises(ImageSourceUnavailable) as raised:
        await fetcher.fetch(uri, timeout_s=0.5)
    return raised.value.why


async def asked(looking_up: Names, name: str) -> list[Any]:
    return await looking_up.look_up(name, 80, socket.AF_INET)


@pytest.fixture
async def looked_up(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counter[str]]:
    """Names with "hangs" in them get no answer, all others the one of loopback; counts look-ups."""
    over, looked_up = threading.Event(), Counter[str]()

    def look_up(name: str, port: int, *_: Any) -> list[Any]:
        looked_up[name] += 1
        if "hangs" in name:
            over.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield looked_up
    over.set()


async def test_a_name_that_hangs_holds_up_no_other_name(
    host: ImageHost, tmp_path: Path, looked_up: Counter[str]
) -> None:
    async with fetching(tmp_path) as fetcher:
        hanging = [why(fetcher, host.url("picture", "hangs.example")) for _ in range(100)]
        others = [fetcher.fetch(host.url("picture", "fine.example"), timeout_s=20) for _ in range(10)]
        whys, answers = await asyncio.gather(asyncio.gather(*hanging), asyncio.gather(*others))
    assert set(whys) <= {"timeout", "host-busy", "host-down"}
    assert {answer.raw for answer in answers} == {PICTURE}
    assert looked_up["hangs.example"] == 1, "it keeps one thread"


async def test_zones_that_hang_for_any_number_of_names_hold_up_no_other_zone(
    host: ImageHost, tmp_path: Path, looked_up: Counter[str]
) -> None:
    async with fetching(tmp_path) as fetcher:
        hanging = [f"{number}.hangs{zone}.example" for zone in range(8) for number in range(40)]
        waiting = asyncio.gather(*(why(fetcher, host.url("picture", name)) for name in hanging))
        while len(looked_up) < 8:
            await asyncio.sleep(0.01)
        answer = await fetcher.fetch(host.url("picture", "fine.example"), timeout_s=20)
        assert set(await waiting) <= {"timeout", "names-busy"}
    assert answer.raw == PICTURE
    assert len(looked_up) == 8 + 1, "a zone that never answered keeps one thread"


async def test_more_zones_that_hang_than_there_are_threads_hold_up_none_that_answered_before(
    looked_up: Counter[str],
) -> None:
    async with looking_up() as ours:
        await asked(ours, "fine.example")
        hanging = [asyncio.create_task(asked(ours, f"hangs{zone}.example")) for zone in range(200)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(asked(ours, "other.fine.example"), 20)
        outcomes = asyncio.gather(*hanging, return_exceptions=True)
    assert {getattr(outcome, "why", "given up") for outcome in await outcomes} <= {"names-busy", "given up"}


async def test_look_ups_that_nobody_waits_for_any_more_do_not_pile_up(
    host: ImageHost, tmp_path: Path, looked_up: Counter[str]
) -> None:
    async with fetching(tmp_path) as fetcher:
        for turn in range(3):
            hanging = [f"{turn}-{number}.hangs.example" for number in range(50)]
            await asyncio.gather(*(why(fetcher, host.url("picture", name)) for name in hanging))
        async with asyncio.timeout(20):
            while fetcher._web._names.under_way > 1:
                await asyncio.sleep(0.01)
    assert len(looked_up) == 1


async def test_a_host_is_not_down_because_its_name_was_never_asked_for(
    host: ImageHost, tmp_path: Path, looked_up: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "TURN_WAIT_S", 0.0)
    uri = host.url("picture", "fine.shop.example")
    async with fetching(tmp_path) as fetcher:
        waiting = asyncio.create_task(why(fetcher, host.url("picture", "hangs.shop.example")))
        while not looked_up:
            await asyncio.sleep(0.01)
        assert {await why(fetcher, uri) for _ in range(10)} == {"names-busy"}
        await waiting


async def hanging_in(ours: Names, zone: str, looked_up: Counter[str]) -> int:
    """How many of twenty names of this zone are looked up at a time."""
    before = len(looked_up)
    tasks = [asyncio.create_task(asked(ours, f"{number}.hangs.{zone}")) for number in range(20)]
    async with asyncio.timeout(20):
        while len(looked_up) - before + sum(task.done() for task in tasks) < len(tasks):
            await asyncio.sleep(0.01)
    refused = await asyncio.gather(*(task for task in tasks if task.done()), return_exceptions=True)
    assert {getattr(error, "why", None) for error in refused} == {"names-busy"}
    return len(looked_up) - before


async def test_a_zone_has_more_turns_once_it_answers_promptly(looked_up: Counter[str]) -> None:
    async with looking_up() as ours:
        assert await hanging_in(ours, "new.example", looked_up) == 1
        await asked(ours, "shop.example")
        assert await hanging_in(ours, "shop.example", looked_up) == PER_ZONE_MAX


async def test_a_zone_that_takes_long_has_one_turn_again(
    looked_up: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with looking_up() as ours:
        await asked(ours, "shop.example")
        monkeypatch.setattr(names, "PROMPT_S", -1.0)
        await asked(ours, "slow.shop.example")
        assert await hanging_in(ours, "shop.example", looked_up) == 1
