"""A limit on our own faults: a bad deploy pauses its worker instead of dead-lettering everything (HOLES 20).

Of the last 1,000 records at most 50 may become dead letters by our own faults. The next one is held back, and so is all
input, until somebody looks. What is counted lies in the object store and outlives the process: a worker that starts
again with the same fault pauses at its first record, and one that starts repaired goes on by itself.
"""

import asyncio

import msgspec
import structlog

from schemas.clock import Clock
from schemas.errors import DeadLetterLimit, FreshlensError, TransientError
from schemas.events import Source
from schemas.metrics import Metrics
from topics.settings import KafkaSettings
from topics.store import ObjectStore

OWN_FAULTS = frozenset({"unsupported-schema", "encoder-failed", "internal", "worker-crashed"})
"""Codes that are our fault rather than the record's: a flood of them is a bad deploy, not bad data."""
WINDOW_RECORDS = 1_000
FAULTS_MAX = 50
FOLDER = "workers"
LOOK_EVERY_S = 2.0
_log = structlog.get_logger()


class Paused(msgspec.Struct, frozen=True):
    """What a worker is paused before: the record that would have been one dead letter too many."""

    code: str
    reason: str
    topic: str
    partition: int
    offset: int
    since: int
    """Microseconds since 1970."""


class FaultWindow(msgspec.Struct, frozen=True):
    """How many records were seen, and which of the last 1,000 failed by our own fault. Pure."""

    seen: int = 0
    faults: tuple[int, ...] = ()
    """For each fault, how many records had been seen before it."""
    accepted: int = 0
    """Faults that somebody accepted in advance; they do not count."""
    paused: Paused | None = None

    @property
    def recent(self) -> int:
        """Faults among the last 1,000 records."""
        return sum(number >= self.seen - WINDOW_RECORDS for number in self.faults)

    @property
    def is_full(self) -> bool:
        """Whether one more fault is too many."""
        return not self.accepted and self.recent >= FAULTS_MAX

    def after_record(self) -> "FaultWindow":
        """One more record was finished, whatever became of it."""
        return msgspec.structs.replace(self, seen=self.seen + 1)

    def after_fault(self) -> "FaultWindow":
        """One more record becomes a dead letter by our own fault."""
        if self.accepted:
            return msgspec.structs.replace(self, accepted=self.accepted - 1)
        kept = tuple(number for number in self.faults if number >= self.seen - WINDOW_RECORDS)
        return msgspec.structs.replace(self, faults=(*kept, self.seen))


class FaultLimit:
    """The window of one worker process, and its pause. Use it from one event loop."""

    def __init__(self, worker: str, role: str, store: ObjectStore, clock: Clock, metrics: Metrics) -> None:
        """Go on from what the process before knew; raises OSError, StoreUnavailable: start again."""
        self._worker, self._role = worker, role
        self._store, self._clock, self._metrics = store, clock, metrics
        self._window = read_window(store, worker)
        self._open = asyncio.Event()
        self._open.set()
        self._one_at_a_time = asyncio.Lock()
        if self._window.paused is not None:
            _log.warning("this worker was paused; its next own fault pauses it again", worker=worker)
            self._window = msgspec.structs.replace(self._window, paused=None)
            store.put(_key(worker), msgspec.json.encode(self._window))
        self._report()

    async def until_open(self) -> None:
        """Wait while the worker is paused."""
        await self._open.wait()

    def passed(self) -> None:
        """A record was finished."""
        self._window = self._window.after_record()
        if self._window.faults:
            self._report()

    async def admit(self, error: FreshlensError, source: Source) -> None:
        """Return when the record may become a dead letter; for faults of ours that may be after a pause."""
        if error.code not in OWN_FAULTS:
            return
        async with self._one_at_a_time:
            while self._window.is_full:
                await self._pause(error, source)
            self._window = self._window.after_fault()
            self._report()
            await self._keep()  # before the dead letter, so that a restart knows of it

    async def _pause(self, error: FreshlensError, source: Source) -> None:
        self._open.clear()
        since = self._clock.now_us()
        paused = Paused(error.code, error.message[:500], source.topic, source.partition, source.offset, since)
        self._window = msgspec.structs.replace(self._window, paused=paused)
        self._report()
        _log.error(
            "paused: too many records fail by our own fault; repair and restart, or `freshlens dead-letters accept`",
            code=DeadLetterLimit.code,
            worker=self._worker,
            faults=self._window.recent,
            last_code=error.code,
            reason=paused.reason,
            topic=source.topic,
            partition=source.partition,
            offset=source.offset,
        )
        await self._keep()
        known = self._window
        while known.paused is not None:
            await asyncio.sleep(LOOK_EVERY_S)
            known = await self._looked()
        self._window = known
        self._report()
        self._open.set()
        _log.warning("accepted: the worker goes on", worker=self._worker)

    async def _keep(self) -> None:
        data = msgspec.json.encode(self._window)
        while True:
            try:
                await asyncio.to_thread(self._store.put, _key(self._worker), data)
                return
            except (OSError, TransientError) as error:
                _log.warning("what is counted cannot be kept", worker=self._worker, reason=str(error))
                await asyncio.sleep(LOOK_EVERY_S)

    async def _looked(self) -> FaultWindow:
        try:
            return await asyncio.to_thread(read_window, self._store, self._worker)
        except (OSError, TransientError) as error:
            _log.warning("still paused, and the store cannot be read", worker=self._worker, reason=str(error))
            return self._window

    def _report(self) -> None:
        self._metrics.gauge("freshlens_own_faults", self._window.recent, role=self._role)
        self._metrics.gauge("freshlens_worker_paused", int(self._window.paused is not None), role=self._role)


def worker_name(kafka: KafkaSettings, role: str, slot: int) -> str:
    """The name of a worker process, stable over restarts."""
    return f"{kafka.group(role)}-{slot}"


def read_window(store: ObjectStore, worker: str) -> FaultWindow:
    """What a worker keeps; an empty window where it has kept nothing yet."""
    try:
        return msgspec.json.decode(store.get(_key(worker)), type=FaultWindow)
    except (FileNotFoundError, msgspec.DecodeError):
        return FaultWindow()


def paused_workers(store: ObjectStore) -> dict[str, Paused]:
    """The workers that are paused, by name."""
    names = [key.removeprefix(f"{FOLDER}/").removesuffix(".json") for key in store.list(FOLDER)]
    windows = {name: read_window(store, name) for name in names}
    return {name: window.paused for name, window in windows.items() if window.paused is not None}


def accept(store: ObjectStore, worker: str, records: int = 0) -> None:
    """Resume a paused worker with an empty window, and let so many own faults pass before it counts again."""
    store.put(_key(worker), msgspec.json.encode(FaultWindow(accepted=records)))


def _key(worker: str) -> str:
    return f"{FOLDER}/{worker}.json"
