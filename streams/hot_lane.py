"""product-added-hot: the few products that go ahead of everything, however much is queued on product-added.

A consumer of its own, apart from Faust's: one that a fast and a slow lane share stops for the slow one (HOLES 7).
What is finished is committed and vouched for as there, from a ledger of its own.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from schemas.errors import FreshlensError
from schemas.events import Source
from schemas.metrics import Metrics
from streams.app import Received, report_lost
from streams.emitting import Finisher
from streams.intake import Intake
from streams.ledger import AckLedger, Place
from topics import clients
from topics import declarations as names
from topics.settings import KafkaSettings

_TAKE_MAX = 32
_POLL_S = 0.1
_COMMIT_EVERY_S = 0.5
_PATIENCE_S = 10.0
_HELD_BACK_MS_MAX = 24 * 3600 * 1000
"""A worker that is paused, or has no room, does not poll; its partitions stay its own."""
_log = structlog.get_logger()
_T = TypeVar("_T")


class HotLane:
    """Reads product-added-hot in the group of the embed workers' hot lanes, and hands every record to ``intake``.

    Blocking calls are made in one thread of its own; ledger and facts are touched on the event loop alone.
    """

    def __init__(
        self, kafka: KafkaSettings, slot: int, intake: Intake, ledger: AckLedger, finisher: Finisher, metrics: Metrics
    ) -> None:
        self._topic, self._intake = kafka.topic(names.PRODUCT_ADDED_HOT), intake
        self._ledger, self._finisher, self._metrics = ledger, finisher, metrics
        group = kafka.group("embed-hot")
        self._consumer: Consumer = clients.consumer(
            kafka,
            group,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,
            group_instance_id=f"{group}-{slot}",
            partition_assignment_strategy="roundrobin",
            fetch_wait_max_ms=20,
            max_poll_interval_ms=_HELD_BACK_MS_MAX,
        )
        self._committed: dict[int, int] = {}

    async def run(self) -> None:
        """Work until cancelled; what is not finished then is delivered again."""
        self._loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="hot-lane") as thread:
            in_thread = partial(self._loop.run_in_executor, thread)
            on_assign, on_revoke = self._assigned, self._revoked
            self._consumer.subscribe([self._topic], on_assign=on_assign, on_revoke=on_revoke, on_lost=self._lost)
            try:
                commit_at = 0.0
                while True:
                    for message in await in_thread(self._polled):
                        await self._take(message)
                    if self._loop.time() >= commit_at:
                        await in_thread(self._commit, self._due())
                        commit_at = self._loop.time() + _COMMIT_EVERY_S
            finally:
                self._intake.cancel()
                await in_thread(self._close)

    def _polled(self) -> list[Message]:
        """What has arrived. ``consume`` alone would wait out its time for more; ``poll`` returns with the first."""
        with clients.kafka_errors(f"read {self._topic}"):
            first = self._consumer.poll(_POLL_S)
            return [] if first is None else [first, *self._consumer.consume(_TAKE_MAX, 0)]

    async def _take(self, message: Message) -> None:
        if (error := message.error()) is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                _log.warning("product-added-hot cannot be read", reason=error.str())
            return
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        ticket = self._ledger.deliver(Place(self._topic, partition), offset)
        if ticket is not None:
            source = Source(names.PRODUCT_ADDED_HOT, partition, offset, message.timestamp()[1])
            await self._intake.take(Received(ticket, source, _bytes(message.key()), _bytes(message.value())))

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        committed = consumer.committed(partitions, timeout=_PATIENCE_S)
        began: dict[Place, int] = {}
        for partition in committed:
            place = Place(partition.topic, partition.partition)
            log_start = consumer.get_watermark_offsets(partition, timeout=_PATIENCE_S)[0]
            known = partition.offset if partition.offset >= 0 else None
            report_lost(self._metrics, names.PRODUCT_ADDED_HOT, place, known, log_start)
            partition.offset = began[place] = max(partition.offset, log_start)
        self._on_loop(self._begin(began))
        consumer.assign(committed)

    def _revoked(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._commit(self._on_loop(self._due_now()))
        self._lost(_consumer, partitions)

    def _lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._committed.pop(partition.partition, None)
        self._on_loop(self._end([Place(partition.topic, partition.partition) for partition in partitions]))

    async def _begin(self, began: Mapping[Place, int]) -> None:
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
            with clients.kafka_errors("commit product-added-hot"):
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except FreshlensError as error:
            _log.warning("product-added-hot is committed later", reason=error.message)
        else:
            self._committed |= moved

    def _close(self) -> None:
        with clients.kafka_errors("leave product-added-hot"):
            self._consumer.close()  # which calls _revoked, and so commits

    def _on_loop(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run this on the event loop, from the consumer's thread, and wait for it: the loop is never waiting for us."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
