"""A consumer apart from Faust's, whose commits come from a ledger of its own.

For topics that must wait for nothing that Faust delivers: one that a fast and a slow lane share stops for the slow one
(HOLES 7).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.errors import FreshlensError
from schemas.events import Source
from schemas.metrics import Metrics
from streams.app import Received, report_lost
from streams.emitting import Finisher
from streams.ledger import AckLedger, Place
from topics import clients
from topics.settings import KafkaSettings

POLL_S = 0.1
_TAKE_MAX = 32
_COMMIT_EVERY_S = 0.5
_BEGIN_EVERY_S = 1.0
_PATIENCE_S = 10.0
_HELD_BACK_MS_MAX = 24 * 3600 * 1000
"""A worker that is paused, or has no room, does not poll; its partitions stay its own."""
_log = structlog.get_logger()
_T = TypeVar("_T")


class LedgerConsumer:
    """Reads one topic (by its logical name) in the group of ``role``, committed records only.

    Blocking calls are made in one thread of its own; ledger and finisher are touched on the event loop alone.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        name: str,
        role: str,
        slot: int,
        ledger: AckLedger,
        finisher: Finisher,
        metrics: Metrics,
    ) -> None:
        self._name, self._topic = name, kafka.topic(name)
        self._ledger, self._finisher, self._metrics = ledger, finisher, metrics
        group = kafka.group(role)
        self._consumer: Consumer = clients.consumer(
            kafka,
            group,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,
            group_instance_id=f"{group}-{slot}",
            partition_assignment_strategy="roundrobin",
            max_poll_interval_ms=_HELD_BACK_MS_MAX,
        )
        self._beginning: list[TopicPartition] = []
        """Assigned, and not read yet: where to begin is still to be asked."""
        self._begin_at = 0.0
        self._committed: dict[int, int] = {}
        self._commit_at = 0.0
        self._is_held_back = False

    @asynccontextmanager
    async def subscribed(self) -> AsyncIterator[None]:
        """While the block runs, :meth:`polled` gives records; what is not finished at its end is delivered again."""
        self._loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix=self._name) as thread:
            self._in_thread: Callable[..., asyncio.Future[Any]] = partial(self._loop.run_in_executor, thread)
            on_assign, on_revoke = self._assigned, self._revoked
            self._consumer.subscribe([self._topic], on_assign=on_assign, on_revoke=on_revoke, on_lost=self._lost)
            try:
                yield
            finally:
                await self._in_thread(self._close)

    async def polled(self) -> list[Received]:
        """What has arrived, after at most a tenth of a second; commits now and then what is finished."""
        messages: list[Message] = await self._in_thread(self._poll)
        if self._loop.time() >= self._commit_at:
            await self._in_thread(self._commit, self._due())
            self._commit_at = self._loop.time() + _COMMIT_EVERY_S
        return [received for message in messages if (received := self._received(message)) is not None]

    def hold_back(self, is_full: bool) -> None:
        """Pause while too many wait; polling goes on, so that the group is followed meanwhile."""
        if is_full and not self._is_held_back:
            self._consumer.pause(self._consumer.assignment())
        elif self._is_held_back and not is_full:
            self._consumer.resume(self._consumer.assignment())
        self._is_held_back = is_full

    def _poll(self) -> list[Message]:
        """``consume`` alone would wait out its time for more; ``poll`` returns with the first."""
        with clients.kafka_errors(f"read {self._topic}"):
            if self._beginning and time.monotonic() >= self._begin_at:
                self._begin()
            first = self._consumer.poll(POLL_S)
            return [] if first is None else [first, *self._consumer.consume(_TAKE_MAX, 0)]

    def _received(self, message: Message) -> Received | None:
        if (error := message.error()) is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                _log.warning("topic cannot be read", topic=self._topic, reason=error.str())
            return None
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        ticket = self._ledger.deliver(Place(self._topic, partition), offset)
        if ticket is None:
            return None
        source = Source(self._name, partition, offset, message.timestamp()[1])
        return Received(ticket, source, _bytes(message.key()), _bytes(message.value()))

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Takes the partitions without reading them, for a callback can neither fail nor try again."""
        with clients.kafka_errors(f"take over {self._topic}"):
            consumer.assign([])
        self._beginning, self._begin_at = partitions, 0.0

    def _begin(self) -> None:
        """Read what was assigned from where its unfinished records begin, or try again later."""
        try:
            # Asked again, since the client remembers for minutes that a partition had no leader.
            self._consumer.list_topics(self._topic, timeout=_PATIENCE_S)
            committed = self._committed_of(self._beginning)
            log_starts = [self._consumer.get_watermark_offsets(each, timeout=_PATIENCE_S)[0] for each in committed]
        except KafkaException as error:
            # Of a partition without a leader, say: what else this worker reads need not end for it.
            _log.warning("begun later", topic=self._topic, reason=error.args[0].str())
            self._begin_at = time.monotonic() + _BEGIN_EVERY_S
            return
        began: dict[Place, int] = {}
        for partition, log_start in zip(committed, log_starts, strict=True):
            place = Place(partition.topic, partition.partition)
            known = partition.offset if partition.offset >= 0 else None
            report_lost(self._metrics, self._name, place, known, log_start)
            partition.offset = began[place] = max(partition.offset, log_start)
        self._on_loop(self._began(began))
        self._consumer.assign(committed)
        self._beginning = []
        self._is_held_back = False  # what is assigned anew is not paused

    def _committed_of(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        committed = self._consumer.committed(partitions, timeout=_PATIENCE_S)
        for partition in committed:
            if partition.error is not None:
                raise KafkaException(partition.error)
        return committed

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._commit(self._on_loop(self._due_now()))
        self._lost(consumer, partitions)

    def _lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._beginning = []
        for partition in partitions:
            self._committed.pop(partition.partition, None)
        self._on_loop(self._end([Place(partition.topic, partition.partition) for partition in partitions]))

    async def _began(self, began: Mapping[Place, int]) -> None:
        for place, offset in began.items():
            self._ledger.begin(place, offset)
        await self._finisher.on_begin(began)

    async def _end(self, places: list[Place]) -> None:
        for place in places:
            self._ledger.end(place)

    async def _due_now(self) -> dict[int, int]:
        return self._due()

    def _due(self) -> dict[int, int]:
        """partition → what may be committed."""
        watermarks = {place.partition: self._ledger.watermark(place) for place in self._ledger.places}
        return {partition: offset for partition, offset in watermarks.items() if offset is not None}

    def _commit(self, due: Mapping[int, int]) -> None:
        moved = {partition: offset for partition, offset in due.items() if self._committed.get(partition) != offset}
        if not moved:
            return
        offsets = [TopicPartition(self._topic, partition, offset) for partition, offset in moved.items()]
        try:
            with clients.kafka_errors(f"commit {self._topic}"):
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except FreshlensError as error:
            _log.warning("committed later", topic=self._topic, reason=error.message)
        else:
            self._committed |= moved

    def _close(self) -> None:
        with clients.kafka_errors(f"leave {self._topic}"):
            self._consumer.close()  # which calls _revoked, and so commits

    def _on_loop(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run this on the event loop, from the consumer's thread, and wait for it: the loop is never waiting for us."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
