"""The limit on our own faults: it holds back the 51st of 1,000, over restarts, until somebody accepts."""

import asyncio
from pathlib import Path

import pytest

from schemas.clock import ManualClock
from schemas.errors import EncoderFailed, FreshlensError, InvalidProduct
from schemas.events import Source
from schemas.metrics import RecordingMetrics
from streams import faults
from streams.faults import FAULTS_MAX, WINDOW_RECORDS, FaultLimit, FaultWindow, accept, paused_workers, read_window
from topics.store import FileStore

WORKER = "freshlens-embed-0"
SOURCE = Source("product-added", 3, 17, 1)
FAULT = EncoderFailed("the encoder failed: no kernel")


def window(pattern: str) -> FaultWindow:
    """One letter per record: f for a fault of ours, anything else for another end."""
    state = FaultWindow()
    for letter in pattern:
        state = (state.after_fault() if letter == "f" else state).after_record()
    return state


def test_fifty_of_the_last_thousand_are_the_limit() -> None:
    assert not window("f" * (FAULTS_MAX - 1)).is_full
    assert window("f" * FAULTS_MAX).is_full
    assert window("f" * FAULTS_MAX + "." * (WINDOW_RECORDS - FAULTS_MAX)).is_full, "all within the last 1,000"
    assert not window("f" * FAULTS_MAX + "." * (WINDOW_RECORDS - FAULTS_MAX + 1)).is_full
    assert window(("." * 19 + "f") * 50).is_full
    assert not window(("." * 20 + "f") * 5_000).is_full, "a share below five per cent never fills it"


def test_what_was_accepted_in_advance_does_not_count() -> None:
    state = FaultWindow(accepted=2)
    assert state.after_fault().after_fault() == FaultWindow()


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "LOOK_EVERY_S", 0.0)


def limit_of(store: FileStore, metrics: RecordingMetrics | None = None) -> FaultLimit:
    return FaultLimit(WORKER, "embed", store, ManualClock(), metrics or RecordingMetrics())


async def let_it_run() -> None:
    """Until tasks have come as far as they can; the store works in threads."""
    for _ in range(200):
        await asyncio.sleep(0)


async def paused_limit(store: FileStore, metrics: RecordingMetrics) -> "tuple[FaultLimit, asyncio.Task[None]]":
    limit = limit_of(store, metrics)
    for _ in range(FAULTS_MAX):
        await limit.admit(FAULT, SOURCE)
        limit.passed()
    held_back = asyncio.create_task(limit.admit(FAULT, SOURCE))
    while not paused_workers(store):
        await asyncio.sleep(0)
    return limit, held_back


async def test_the_next_one_waits_and_so_does_all_input_until_it_is_accepted(store: FileStore) -> None:
    metrics = RecordingMetrics()
    limit, held_back = await paused_limit(store, metrics)
    taking = asyncio.create_task(limit.until_open())
    await let_it_run()
    assert not held_back.done()
    assert not taking.done()
    paused = paused_workers(store)[WORKER]
    assert (paused.code, paused.topic, paused.partition, paused.offset) == ("encoder-failed", "product-added", 3, 17)
    assert metrics.values["freshlens_worker_paused", (("role", "embed"),)] == 1
    assert metrics.values["freshlens_own_faults", (("role", "embed"),)] == FAULTS_MAX

    accept(store, WORKER)
    await asyncio.wait_for(asyncio.gather(held_back, taking), 10)
    assert paused_workers(store) == {}
    assert read_window(store, WORKER).recent == 1
    assert metrics.values["freshlens_worker_paused", (("role", "embed"),)] == 0


async def test_records_that_are_not_our_fault_pass_even_a_full_window(store: FileStore) -> None:
    limit, held_back = await paused_limit(store, RecordingMetrics())
    await asyncio.wait_for(limit.admit(InvalidProduct("no name"), SOURCE), 10)
    held_back.cancel()


async def test_a_worker_that_starts_again_lets_none_pass_while_the_fault_lasts(store: FileStore) -> None:
    _, held_back = await paused_limit(store, RecordingMetrics())
    held_back.cancel()
    again = limit_of(store)
    assert paused_workers(store) == {}, "it works until the fault shows"
    await asyncio.wait_for(again.until_open(), 10)
    held_back = asyncio.create_task(again.admit(FreshlensError("boom"), SOURCE))
    while not paused_workers(store):
        await asyncio.sleep(0)
    assert paused_workers(store)[WORKER].code == "internal"
    assert not held_back.done()
    held_back.cancel()


async def test_faults_before_a_crash_count_after_it(store: FileStore) -> None:
    for _ in range(FAULTS_MAX):
        await limit_of(store).admit(FAULT, SOURCE)
    assert read_window(store, WORKER).is_full


async def test_a_worker_that_starts_repaired_goes_on_by_itself(store: FileStore) -> None:
    _, held_back = await paused_limit(store, RecordingMetrics())
    held_back.cancel()
    again = limit_of(store)
    for _ in range(WINDOW_RECORDS):
        again.passed()
    await asyncio.wait_for(again.admit(FAULT, SOURCE), 10)
    assert read_window(store, WORKER).recent == 1


async def test_a_store_that_is_away_opens_nothing(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    _, held_back = await paused_limit(store, RecordingMetrics())
    asked = 0

    def away(_key: str) -> bytes:
        nonlocal asked
        asked += 1
        raise OSError("away")

    with monkeypatch.context() as broken:
        broken.setattr(store, "get", away)
        while asked < 3:
            await asyncio.sleep(0)
        assert not held_back.done()
    accept(store, WORKER, records=7)
    await asyncio.wait_for(held_back, 10)
    assert read_window(store, WORKER) == FaultWindow(seen=0, accepted=6)
