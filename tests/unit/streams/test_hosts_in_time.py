"""Whose fault it is that a picture was not there in time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from processors.fetching.policy import Fetched, FetchPolicy, Validators, WebPlace
from schemas.errors import ImageSourceUnavailable
from schemas.metrics import RecordingMetrics
from streams.fetching.hosts import FAILURES_MAX
from streams.fetching.web import Wanted, WebPictures
from tests import jumping_clock

PLACE = WebPlace(URL("https://cdn.example/a.jpg"))
PATIENCE_S, AT_ONCE = 1.0, 16


class Host:
    """Takes its time for each picture."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, takes_s: float) -> None:
        self.takes_s, self.given_up = takes_s, 0
        monkeypatch.setattr(WebPictures, "_talked", self._talked)

    async def _talked(self, *_: object) -> Fetched:
        try:
            await asyncio.sleep(self.takes_s)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return Fetched(b"picture", Validators(b"hash"))


async def asked(web: WebPictures, *, time_s: float = PATIENCE_S) -> str:
    deadline = asyncio.get_running_loop().time() + time_s
    try:
        await web.answer(PLACE, Wanted("a.jpg", None, PATIENCE_S, deadline))
    except ImageSourceUnavailable as error:
        return error.why
    return "fetched"


@asynccontextmanager
async def pictures() -> AsyncIterator[WebPictures]:
    web = WebPictures(FetchPolicy(per_host_max=AT_ONCE), RecordingMetrics())
    try:
        yield web
    finally:
        await web.close()


def test_a_rush_neither_makes_a_host_down_nor_asks_it_for_what_it_has_no_time_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def rush() -> Counter[str]:
        async with pictures() as web:
            return Counter(await asyncio.gather(*(asked(web) for _ in range(200))))

    host = Host(monkeypatch, 0.2)
    whys = jumping_clock.run(rush())
    assert set(whys) == {"fetched", "host-busy"}
    assert whys["fetched"] >= 2 * AT_ONCE
    assert host.given_up == 0


def test_a_host_that_does_not_answer_is_down_after_few(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> list[str]:
        async with pictures() as web:
            return [await asked(web) for _ in range(10)]

    host = Host(monkeypatch, 100)
    assert jumping_clock.run(ask()) == ["timeout"] * FAILURES_MAX + ["host-down"] * (10 - FAILURES_MAX)
    assert host.given_up == FAILURES_MAX


def test_a_host_that_was_asked_when_time_was_nearly_up_is_not_down(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> list[str]:
        async with pictures() as web:
            hurried = [await asked(web, time_s=0.1) for _ in range(10)]
            return [*hurried, await asked(web)]

    Host(monkeypatch, 0.2)
    assert jumping_clock.run(ask()) == ["timeout"] * 10 + ["fetched"]
