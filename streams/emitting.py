"""Putting a record on index-log and finishing the event it came from."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from schemas.clock import Clock
from schemas.errors import FreshlensError, InvalidRecord, TransientError, WorkerCrashed
from schemas.framing import INDEX_LOG
from schemas.identity import partition_of
from schemas.index_log import IndexLogRecord
from schemas.lane import Lane
from schemas.metrics import Metrics
from schemas.versions import ResolvedVersion
from streams.app import Received
from streams.crashes import CRASHES_MAX, CrashJournal
from streams.dead_letters import DeadLetters
from streams.ledger import AckLedger, Place, Ticket
from streams.outbox import Outbox
from streams.progress import FactPublisher
from topics import declarations as names
from topics.settings import KafkaSettings

_BACKOFF_S = (0.1, 0.5, 2.0, 5.0)
_log = structlog.get_logger()


class Rejected(Exception):
    """A record that is poison, after its version was resolved: the dead letter must carry it (HOLES 20)."""

    def __init__(self, error: InvalidRecord, resolved: ResolvedVersion, attempts: int) -> None:
        super().__init__(str(error))
        self.error, self.resolved, self.attempts = error, resolved, attempts


Work = Callable[[Received], Awaitable[str]]
"""Gives an event its effect and says in a word what that was; raises InvalidRecord or Rejected for poison."""


class IndexLogWriter:
    """Writes records to their partition by the layout's own hash, and reports where they lie."""

    def __init__(self, kafka: KafkaSettings, lane: Lane, outbox: Outbox) -> None:
        self._topic, self._lane, self._outbox = kafka.topic(names.INDEX_LOG), lane, outbox

    async def write(self, record: IndexLogRecord) -> tuple[int, int]:
        """Returns (partition, next offset) once confirmed; raises InvalidRecord if it is too large for the log."""
        key = record.key
        partition = partition_of(key, self._lane.layout.partitions)
        value = INDEX_LOG.encode(record)
        _, offset = await self._outbox.send(self._topic, key.to_bytes(), value, partition)
        return partition, offset + 1


class Finisher:
    """Sees every event to its end: its effect confirmed, or a dead letter. Nothing raises out of here."""

    def __init__(
        self,
        ledger: AckLedger,
        facts: FactPublisher | None,
        letters: DeadLetters,
        journal: CrashJournal,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._ledger, self._facts, self._letters, self._journal = ledger, facts, letters, journal
        self._clock, self._metrics = clock, metrics

    async def on_begin(self, began: Mapping[Place, int]) -> None:
        """Partitions were assigned from these offsets on, and the ledger has begun them."""
        await self._journal.on_begin(began)
        if self._facts is not None:
            await self._facts.on_begin(began)

    async def until_open(self) -> None:
        """Wait while the worker is paused by too many faults of our own."""
        await self._letters.limit.until_open()

    def delivered(self, received: Received) -> None:
        """The event was taken from its topic."""
        if self._facts is not None:
            self._facts.progress.delivered(received.ticket)

    def confirmed(self, ticket: Ticket, partition: int, next_offset: int) -> None:
        """A record of this event is on index-log."""
        if self._facts is not None:
            self._facts.progress.confirmed(ticket, partition, next_offset)

    async def run(self, work: Work, received: Received) -> None:
        """Do the work until it has its effect; what can never work is dead-lettered; then finish the event."""
        outcome = await self._outcome(work, received)
        source = received.source
        self._metrics.count("freshlens_events_total", topic=source.topic, outcome=outcome)
        seconds = max(0.0, self._clock.now_us() / 1e6 - source.appended_at / 1e3)
        self._metrics.observe("freshlens_event_to_log_seconds", seconds)
        self._ledger.finish(received.ticket)
        self._letters.limit.passed()
        if self._facts is not None:
            self._facts.wake()

    async def _outcome(self, work: Work, received: Received) -> str:
        attempt = 0
        letter: tuple[FreshlensError, int, ResolvedVersion | None]
        while True:
            try:
                return await self._worked(work, received)
            except Rejected as error:
                letter = (error.error, error.attempts + attempt, error.resolved)
            except WorkerCrashed as error:
                letter = (error, CRASHES_MAX, None)
            except InvalidRecord as error:
                letter = (error, 1 + attempt, None)
            except (TransientError, OSError) as error:
                await _wait_before_retry(error, attempt, received)
                attempt += 1
                continue
            except Exception as error:
                _log.exception("an event failed by our own fault", topic=received.source.topic)
                letter = (FreshlensError(f"{type(error).__name__}: {error}"), 1 + attempt, None)
            if await self._dead_lettered(received, *letter):
                return "dead-letter"

    async def _worked(self, work: Work, received: Received) -> str:
        """Do the work with the record in hand, as the crash journal has it; what killed us thrice is not read again."""
        if self._journal.crashes(received.ticket) >= CRASHES_MAX:
            raise WorkerCrashed(f"the worker crashed {CRASHES_MAX} times with this record alone in hand")
        async with self._journal.in_hand(received.ticket):
            return await work(received)

    async def _dead_lettered(
        self, received: Received, error: FreshlensError, attempts: int, resolved: ResolvedVersion | None
    ) -> bool:
        try:
            await self._letters.send(
                received.key, received.value, received.source, error, attempts=attempts, resolved=resolved
            )
        except Exception as problem:  # the store or the broker; the event stays unfinished until it works
            await _wait_before_retry(problem, 3, received)
            return False
        return True


async def _wait_before_retry(error: Exception, attempt: int, received: Received) -> None:
    _log.warning("an event waits", reason=str(error), topic=received.source.topic, offset=received.source.offset)
    await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
