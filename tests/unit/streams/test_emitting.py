"""Every event is seen to its end: its effect, or a dead letter that says how often it was tried."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.clock import ManualClock
from schemas.errors import FreshlensError, InvalidProduct, StoreUnavailable
from schemas.events import DeadLetter, Source
from schemas.framing import DEAD_LETTERS
from schemas.metrics import RecordingMetrics
from schemas.versions import ResolvedVersion
from streams import emitting
from streams.app import Received
from streams.crashes import CRASHES_MAX, CrashJournal, Suspicion, Where
from streams.dead_letters import DeadLetters
from streams.emitting import Finisher, Rejected
from streams.faults import FAULTS_MAX, FaultLimit, read_window
from streams.ledger import AckLedger, Place
from topics.settings import KafkaSettings
from topics.store import FileStore

PLACE = Place("product-added", 0)


class RecordingOutbox:
    """Keeps what would be sent to dead-letters."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []

    async def send(
        self, _topic: str, _key: bytes | None, value: bytes, partition: int | None = None
    ) -> tuple[int, int]:
        self.letters.append(DEAD_LETTERS.decode(value, DeadLetter))
        return partition or 0, len(self.letters) - 1


class Worker:
    """A finisher and all it reports to, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.store, self.outbox, self.ledger = FileStore(folder / "store"), RecordingOutbox(), AckLedger()
        clock, metrics = ManualClock(), RecordingMetrics()
        limit = FaultLimit("w", "embed", self.store, clock, metrics)
        outbox: Any = self.outbox
        letters = DeadLetters(KafkaSettings(""), outbox, self.store, limit, clock, metrics)
        self.journal = CrashJournal(folder / "journal")
        self.finisher = Finisher(self.ledger, None, letters, self.journal, clock, metrics)
        self.ledger.begin(PLACE, 0)

    async def run(self, offset: int, work: Callable[[], str]) -> DeadLetter | None:
        """One event; the dead letter it became."""
        ticket = self.ledger.deliver(PLACE, offset)
        assert ticket is not None

        async def awaited(_received: Received) -> str:
            return work()

        before = len(self.outbox.letters)
        source = Source("product-added", 0, offset, 0)
        await self.finisher.run(awaited, Received(ticket, source, b"shop/1", b"raw"))
        assert self.ledger.watermark(PLACE) == offset + 1
        return self.outbox.letters[-1] if len(self.outbox.letters) > before else None


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setattr(emitting, "_BACKOFF_S", (0.0,))
    return Worker(tmp_path)


def raising(*errors: Exception) -> Callable[[], str]:
    """Fails with each of these in turn, then works."""
    left = list(errors)

    def work() -> str:
        if left:
            raise left.pop(0)
        return "indexed"

    return work


async def test_what_may_work_later_is_tried_until_it_does(worker: Worker) -> None:
    assert await worker.run(0, raising(StoreUnavailable("away"), OSError("full"))) is None


async def test_a_dead_letter_has_code_reason_attempts_bytes_and_position(worker: Worker) -> None:
    letter = await worker.run(0, raising(StoreUnavailable("away"), InvalidProduct("no id")))
    assert letter is not None
    assert (letter.code, letter.reason, letter.attempts) == ("invalid-product", "no id", 2)
    assert (letter.key, letter.value) == (b"shop/1", b"raw")
    assert letter.source == Source("product-added", 0, 0, 0)
    rejected = Rejected(InvalidProduct("no id"), ResolvedVersion(7, 8), 5)
    letter = await worker.run(1, raising(rejected))
    assert letter is not None
    assert (letter.attempts, letter.version, letter.sequence) == (5, 7, 8)


async def test_a_fault_of_ours_is_internal_and_counts(worker: Worker) -> None:
    letter = await worker.run(0, raising(ZeroDivisionError("boom")))
    assert letter is not None
    assert (letter.code, letter.reason) == ("internal", "ZeroDivisionError: boom")
    assert read_window(worker.store, "w").recent == 1


async def test_a_store_that_is_away_counts_a_fault_once(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    large = raising(*(FreshlensError("boom") for _ in range(3)))
    real, failures = worker.store.put, [OSError("away")] * 2

    def put(key: str, data: bytes) -> None:
        if key.startswith("dead-letters/") and failures:
            raise failures.pop()
        real(key, data)

    monkeypatch.setattr(worker.store, "put", put)
    ticket = worker.ledger.deliver(PLACE, 0)
    assert ticket is not None

    async def work(_received: Received) -> str:
        return large()

    source = Source("product-added", 0, 0, 0)
    await worker.finisher.run(work, Received(ticket, source, None, b"x" * 300_000))
    assert len(worker.outbox.letters) == 1
    assert read_window(worker.store, "w").recent == 1


async def test_what_killed_the_worker_three_times_is_not_read_again(tmp_path: Path) -> None:
    where = Where(*PLACE, 0)
    (tmp_path / "journal").write_text(Suspicion({}, {where: None}, {where: CRASHES_MAX}).lines())
    worker = Worker(tmp_path)

    def never() -> str:
        raise AssertionError("it was read")

    letter = await worker.run(0, never)
    assert letter is not None
    assert (letter.code, letter.attempts) == ("worker-crashed", CRASHES_MAX)


async def test_what_waits_is_not_in_hand(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is killed while it waits for the broker, or paused, blames nobody."""
    seen = []

    def work() -> str:
        seen.append(in_hand(tmp_path))
        raise InvalidProduct("no id")

    real = worker.outbox.send

    async def send(*arguments: Any) -> tuple[int, int]:
        seen.append(in_hand(tmp_path))
        return await real(*arguments)

    monkeypatch.setattr(worker.outbox, "send", send)
    await worker.run(0, work)
    assert seen == [1, 0]


def in_hand(folder: Path) -> int:
    return len(Suspicion.read((folder / "journal").read_text().splitlines()).in_hand)


async def test_too_many_faults_are_held_back_and_nothing_is_committed_past_them(worker: Worker) -> None:
    for offset in range(FAULTS_MAX):
        await worker.run(offset, raising(FreshlensError("boom")))
    with pytest.raises(TimeoutError):
        await wait_briefly(worker)
    assert len(worker.outbox.letters) == FAULTS_MAX
    assert worker.ledger.watermark(PLACE) == FAULTS_MAX


async def wait_briefly(worker: Worker) -> None:
    task = asyncio.create_task(worker.run(FAULTS_MAX, raising(FreshlensError("boom"))))
    while read_window(worker.store, "w").paused is None:
        await asyncio.sleep(0)
    async with asyncio.timeout(0):
        await task
