"""Which hosts are down, for how long, and who looks whether they still are."""

import asyncio
import gc

import pytest

from schemas.errors import ImageSourceUnavailable
from schemas.metrics import RecordingMetrics
from streams.fetching import hosts
from streams.fetching.hosts import DOWN_S_MAX, DOWN_S_MIN, FAILURES_MAX, DownHosts, Hosts, Line

LINE: Line = ("https://cdn.example:443", 1.0)
PATIENT: Line = ("https://cdn.example:443", 30.0)


def down(now: float = 0.0) -> DownHosts:
    known = DownHosts()
    assert [known.failed(LINE, now) for _ in range(FAILURES_MAX)] == [False] * (FAILURES_MAX - 1) + [True]
    return known


def test_a_host_is_down_after_failures_in_a_row_and_not_before() -> None:
    known = DownHosts()
    for _ in range(10):
        for _ in range(FAILURES_MAX - 1):
            known.failed(LINE, 0)
        assert known.admit(LINE, 0) == 0
        known.answered(LINE)
    assert down().admit(LINE, 0.5) == DOWN_S_MIN - 0.5


def test_others_are_not_and_neither_are_those_with_more_patience() -> None:
    assert down().admit(("https://other.example:443", 1.0), 0) == 0
    assert down().admit(PATIENT, 0) == 0


def test_one_at_a_time_looks_whether_it_is_back() -> None:
    known = down()
    assert known.admit(LINE, DOWN_S_MIN) == 0
    assert known.admit(LINE, DOWN_S_MIN) == LINE[1], "the next waits for what the first one finds"
    known.answered(LINE)
    assert known.admit(LINE, DOWN_S_MIN) == 0
    assert known.admit(LINE, DOWN_S_MIN) == 0


def test_one_that_looks_and_never_reports_is_followed_by_another() -> None:
    known = down()
    assert known.admit(LINE, DOWN_S_MIN) == 0
    assert known.admit(LINE, DOWN_S_MIN + LINE[1]) == 0


def test_the_rest_doubles_up_to_a_limit() -> None:
    known, now, rests = down(), 0.0, []
    for _ in range(40):
        rest = known.admit(LINE, now)
        rests.append(rest)
        now += rest
        assert known.admit(LINE, now) == 0
        assert known.failed(LINE, now)
    assert rests[:3] == [DOWN_S_MIN, 2 * DOWN_S_MIN, 4 * DOWN_S_MIN]
    assert rests[-1] == DOWN_S_MAX


def test_failures_of_fetches_that_began_before_do_not_make_it_longer() -> None:
    known = down()
    assert not any(known.failed(LINE, 0.1) for _ in range(50))
    assert known.admit(LINE, 0) == DOWN_S_MIN
    assert known.admit(LINE, DOWN_S_MIN) == 0
    assert known.failed(LINE, DOWN_S_MIN)
    assert known.admit(LINE, DOWN_S_MIN) == 2 * DOWN_S_MIN


def test_a_host_may_ask_for_rest_within_reason() -> None:
    known = DownHosts()
    known.told(LINE, 0, 40)
    assert known.admit(LINE, 0) == 40
    known.told(LINE, 0, 1e9)
    assert known.admit(LINE, 0) == hosts.TOLD_S_MAX


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "_KNOWN_MAX", 2)
    known = DownHosts()
    for name in ("a", "b", "c"):
        known.told((name, 1.0), 0, 5)
    assert [known.admit((name, 1.0), 0) for name in ("a", "b", "c")] == [0, 5, 5]


async def test_a_busy_host_refuses_its_own_callers_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "TURN_WAIT_S", 0.0)
    turns, deadline = Hosts(1, RecordingMetrics()), asyncio.get_running_loop().time() + 100
    async with turns.turn(LINE, deadline):
        with pytest.raises(ImageSourceUnavailable) as refused:
            async with turns.turn(LINE, deadline):
                pass
        assert refused.value.why == "host-busy"
        async with turns.turn(("https://other.example:443", 1.0), deadline):
            pass
    async with turns.turn(LINE, deadline):
        pass


async def test_those_that_wait_are_refused_once_it_is_down() -> None:
    metrics = RecordingMetrics()
    turns, deadline = Hosts(1, metrics), asyncio.get_running_loop().time() + 100

    async def wait() -> None:
        async with turns.turn(LINE, deadline):
            pass

    async with turns.turn(LINE, deadline):
        waiting = [asyncio.create_task(wait()) for _ in range(5)]
        await asyncio.sleep(0)
        for _ in range(FAILURES_MAX):
            turns.failed(LINE)
    refused = await asyncio.gather(*waiting, return_exceptions=True)
    assert [getattr(error, "why", None) for error in refused] == ["host-down"] * 5
    assert all(0 < getattr(error, "retry_after_s", 0) <= DOWN_S_MIN for error in refused)
    await asyncio.sleep(0)
    del refused, waiting
    gc.collect()
    assert metrics.values["freshlens_fetch_hosts_down_total", ()] == 1
    assert not turns._turns, "a host that nobody asks is forgotten"
