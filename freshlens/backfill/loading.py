"""Loading rows: each becomes a record of index-log by the very steps of a live event, or a dead letter."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec
import structlog

from freshlens.backfill.job import Job
from freshlens.backfill.lines import Lines, source_of
from freshlens.backfill.rows import Loaded, Row, RowSet, Slice
from freshlens.backfill.slices import ROWS_AT_ONCE, rows_of
from processors.added import Incoming
from schemas.clock import Clock
from schemas.errors import DeadLetterLimit, FreshlensError, InvalidRecord, TransientError
from schemas.events import ProductAdded
from schemas.framing import DEAD_LETTERS, PRODUCT_ADDED
from streams.app import Received
from streams.dead_letters import dead_letter
from streams.embed import EmbedStep
from streams.emitting import Rejected
from streams.faults import OWN_FAULTS, FaultWindow
from streams.ledger import Place, Ticket
from streams.outbox import Outbox
from streams.watch.holds import HeldSources
from topics import declarations as names
from topics.store import ObjectStore

IN_FLIGHT_MAX = 128
IN_FLIGHT_BYTES_MAX = 64 * 1024 * 1024
_BACKOFF_S = (0.1, 0.5, 2.0, 5.0)
_log = structlog.get_logger()


class Loader:
    """Loads slices, one after another; ``flush`` is called at the end of each. Use it within one event loop."""

    def __init__(
        self,
        job: Job,
        lines: Lines,
        held: HeldSources,
        step: EmbedStep,
        outbox: Outbox,
        store: ObjectStore,
        clock: Clock,
        flush: Callable[[], None],
    ) -> None:
        self._job, self._lines, self._held, self._step = job, lines, held, step
        self._outbox, self._store, self._clock, self._flush = outbox, store, clock, flush
        self._letters_topic = job.settings.kafka.topic(names.DEAD_LETTERS)
        self._window = FaultWindow()

    async def load(self, slice_: Slice, done: RowSet) -> AsyncIterator[list[Loaded]]:
        """Load the rows of a slice that are not done, and say of each what became of it, some at a time.

        Raises:
            DeadLetterLimit: too many rows failed by our own fault; nothing more is loaded.
        """
        rows = rows_of(self._job.dump, slice_, self._job.popularity)
        running: dict[asyncio.Task[Loaded], int] = {}
        finished: list[Loaded] = []
        try:
            while chunk := await asyncio.to_thread(_some, rows):
                for row in chunk:
                    if row.number in done:
                        continue
                    while len(running) >= IN_FLIGHT_MAX or sum(running.values()) > IN_FLIGHT_BYTES_MAX:
                        finished += await _first(running)
                    running[asyncio.create_task(self._loaded(slice_.file, row))] = len(row.line)
                if len(finished) >= ROWS_AT_ONCE:
                    yield finished
                    finished = []
            while running:
                finished += await _first(running)
            await asyncio.to_thread(self._flush)
            yield finished
        finally:
            for task in running:
                task.cancel()

    async def _loaded(self, file: int, row: Row) -> Loaded:
        attempt = 0
        while True:
            try:
                return await self._tried(file, row)
            except (TransientError, OSError) as error:
                _log.warning("a row waits", row=row.number, reason=str(error))
                await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
                attempt += 1

    async def _tried(self, file: int, row: Row) -> Loaded:
        incoming: Incoming | None = None
        try:
            incoming = await asyncio.to_thread(self._lines.read, file, row)
            self._held.check(incoming.event)
            outcome = await self._step.again(incoming, _received(incoming), attempts=0)
        except Rejected as rejected:
            return await self._refused(file, row, incoming, rejected.error)
        except InvalidRecord as error:
            return await self._refused(file, row, incoming, error)
        except (FreshlensError, OSError):
            raise
        except Exception as error:
            _log.exception("a row failed by our own fault", row=row.number)
            return await self._refused(file, row, incoming, FreshlensError(f"{type(error).__name__}: {error}"))
        self._window = self._window.after_record()
        return Loaded(row.number, outcome, incoming.key.product_id)

    async def _refused(self, file: int, row: Row, incoming: Incoming | None, error: FreshlensError) -> Loaded:
        """The row as a dead letter: its event where there is one, else its line."""
        if error.code in OWN_FAULTS:
            if self._window.is_full:
                raise DeadLetterLimit(f"too many rows failed by our own fault, the last one so: {error}")
            self._window = self._window.after_fault()
        self._window = self._window.after_record()
        key = incoming.key.to_bytes() if incoming else self._lines.key_of(row)
        value = PRODUCT_ADDED.encode(_explicit(incoming)) if incoming else row.line
        source = source_of(self._job.dump, file, row.number, self._job.started_at_ms)
        resolved = incoming.resolved if incoming else None
        failed_at = self._clock.now_us()
        letter = dead_letter(key, value, source, error, attempts=1, failed_at=failed_at, resolved=resolved)
        if letter.stored_at is not None:
            await asyncio.to_thread(self._store.put, letter.stored_at, value)
        await self._outbox.send(self._letters_topic, letter.key, DEAD_LETTERS.encode(letter))
        product_id = incoming.key.product_id if incoming else ""
        return Loaded(row.number, "refused", product_id, error.code, error.message[:300])


def _some(rows: Iterator[Row]) -> list[Row]:
    """The next rows: few, and fewer where they are large."""
    found: list[Row] = []
    size = 0
    for row in rows:
        found.append(row)
        size += len(row.line)
        if len(found) >= ROWS_AT_ONCE or size > IN_FLIGHT_BYTES_MAX // 4:
            break
    return found


async def _first(running: "dict[asyncio.Task[Loaded], int]") -> list[Loaded]:
    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        del running[task]
    return [task.result() for task in done]


def _received(incoming: Incoming) -> Received:
    """The form in which the embed step takes an event; nothing is acknowledged."""
    source = incoming.source
    return Received(Ticket(Place(source.topic, source.partition), source.offset, 0), source, None, None)


def _explicit(incoming: Incoming) -> ProductAdded:
    return msgspec.structs.replace(incoming.event, version=incoming.resolved.version)
