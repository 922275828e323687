"""Facts about progress: all of a source below W has its effect in index-log below X (HOLES 10)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from schemas.errors import TransientError
from schemas.framing import INDEX_PROGRESS
from schemas.progress import ProgressFact
from streams.ledger import AckLedger, Place, Ticket
from streams.outbox import Outbox
from topics import administration, clients
from topics import declarations as names
from topics.settings import KafkaSettings

PUBLISH_EVERY_S = 0.05
IDLE_EVERY_S = 60.0
_log = structlog.get_logger()


class Vouched(NamedTuple):
    """What end offsets of index-log, once read, will vouch for: all below ``offset`` of this assignment."""

    assignment: int
    offset: int


@dataclass(slots=True)
class _Reach:
    vouched: Vouched
    base: dict[int, int] | None = None
    confirmed: dict[int, int] = field(default_factory=dict)
    is_untouched: bool = True
    published: tuple[int, dict[int, int]] | None = None


class Progress:
    """For each assigned partition, how far index-log must be read to have seen all that is finished. Pure.

    What others finished before this assignment lies below the end offsets of index-log read *after* the committed
    offset; those are the base. Where the first delivered offset is higher, somebody finished more in between, so
    they are read again.
    """

    def __init__(self) -> None:
        self._places: dict[Place, _Reach] = {}

    def begin(self, place: Place, assignment: int, offset: int) -> None:
        """A new assignment that begins at this offset."""
        self._places[place] = _Reach(Vouched(assignment, offset))

    def end(self, place: Place) -> None:
        self._places.pop(place, None)

    def delivered(self, ticket: Ticket) -> None:
        """An event was delivered."""
        reach = self._places.get(ticket.place)
        if reach is None or reach.vouched.assignment != ticket.assignment or not reach.is_untouched:
            return
        reach.is_untouched = False
        if ticket.offset > reach.vouched.offset:
            reach.vouched, reach.base = Vouched(ticket.assignment, ticket.offset), None

    def confirmed(self, ticket: Ticket, partition: int, next_offset: int) -> None:
        """A record of this event lies in index-log below ``next_offset``. Call it before the event is finished."""
        reach = self._places.get(ticket.place)
        if reach is not None and reach.vouched.assignment == ticket.assignment:
            reach.confirmed[partition] = max(reach.confirmed.get(partition, 0), next_offset)

    def wanting_base(self) -> dict[Place, Vouched]:
        """The partitions whose base must be read, with what it will vouch for."""
        return {place: reach.vouched for place, reach in self._places.items() if reach.base is None}

    def take_base(self, asked: Mapping[Place, Vouched], ends: Mapping[int, int]) -> None:
        """The end offsets of index-log, read after :meth:`wanting_base` gave ``asked``."""
        for place, vouched in asked.items():
            reach = self._places.get(place)
            if reach is not None and reach.vouched == vouched and reach.base is None:
                reach.base = dict(ends)

    def facts(self, ledger: AckLedger, *, repeat: bool = False) -> list[tuple[Place, int, dict[int, int]]]:
        """(place, W, X) of every partition that moved since the last time, or of all."""
        moved = []
        for place, reach in self._places.items():
            watermark = ledger.watermark(place)
            if watermark is None or reach.base is None:
                continue
            known = {
                partition: max(offset, reach.confirmed.get(partition, 0)) for partition, offset in reach.base.items()
            }
            if repeat or reach.published is None or reach.published[0] != watermark:
                reach.published = (watermark, known)
                moved.append((place, watermark, known))
        return moved


class FactPublisher:
    """Publishes Progress on index-progress: at once when W moves, then at most every 50 ms; all of it each minute."""

    def __init__(
        self, kafka: KafkaSettings, lane: str, topic: str, ledger: AckLedger, progress: Progress, outbox: Outbox
    ) -> None:
        self.progress = progress
        self._kafka, self._lane, self._topic = kafka, lane, topic
        self._ledger, self._outbox = ledger, outbox
        self._admin = clients.admin(kafka)
        self._log_id = str(administration.describe_log(self._admin, kafka.topic(topic)))
        self._moved = asyncio.Event()

    async def on_begin(self, began: Mapping[Place, int]) -> None:
        """Partitions were assigned; the ledger has begun them."""
        for place, offset in began.items():
            self.progress.begin(place, self._ledger.assignment(place), offset)
        self.wake()

    def wake(self) -> None:
        """Something moved."""
        self._moved.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        repeat_at = asyncio.get_running_loop().time() + IDLE_EVERY_S
        while True:
            await self._wait(repeat_at)
            now = asyncio.get_running_loop().time()
            is_time = now >= repeat_at
            repeat_at = now + IDLE_EVERY_S if is_time else repeat_at
            try:
                await self._read_bases()
            except TransientError as error:
                _log.warning("facts wait for the broker", reason=error.message)
                self.wake()
            await self._publish(repeat=is_time)
            await asyncio.sleep(PUBLISH_EVERY_S)

    async def _wait(self, repeat_at: float) -> None:
        try:
            async with asyncio.timeout_at(repeat_at):
                await self._moved.wait()
        except TimeoutError:
            return
        self._moved.clear()

    async def _read_bases(self) -> None:
        while asked := self.progress.wanting_base():
            index_log = self._kafka.topic(names.INDEX_LOG)
            ends = await asyncio.to_thread(administration.end_offsets, self._admin, index_log)
            self.progress.take_base(asked, ends)

    async def _publish(self, *, repeat: bool) -> None:
        sends = []
        for place, watermark, reach in self.progress.facts(self._ledger, repeat=repeat):
            fact = ProgressFact(
                lane=self._lane,
                log_id=self._log_id,
                topic=self._topic,
                partition=place.partition,
                watermark=watermark,
                reach={str(partition): offset for partition, offset in reach.items()},
            )
            key = f"{self._topic}/{place.partition}".encode()
            sends.append(self._outbox.send(self._kafka.topic(names.INDEX_PROGRESS), key, INDEX_PROGRESS.encode(fact)))
        await asyncio.gather(*sends)
