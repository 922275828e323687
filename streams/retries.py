"""product-retry: events whose pictures were not there yet, and replayed dead letters, tried again in their time.

A consumer of its own, apart from Faust's: a record that waits for its time must not hold back new events.
"""

import asyncio
import heapq
from dataclasses import dataclass, field

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from processors.added import Incoming
from schemas.clock import Clock
from schemas.errors import FreshlensError, InvalidRecord, UndecodableRecord
from schemas.events import ProductAdded, ProductRetry, Source
from schemas.framing import PRODUCT_ADDED, PRODUCT_RETRY
from schemas.identity import check_record_key, product_key
from schemas.versions import ResolvedVersion
from streams.app import Received
from streams.embed import EmbedStep
from streams.emitting import Finisher
from streams.ledger import AckLedger, Place
from topics import clients
from topics import declarations as names
from topics.settings import KafkaSettings

WAITING_MAX = 2_000
RUNNING_MAX = 32
_POLL_S = 0.2
_COMMIT_EVERY_S = 1.0
_log = structlog.get_logger()


@dataclass(order=True, slots=True)
class _Waiting:
    due_us: int
    number: int
    received: Received = field(compare=False)


def read_retry(key: bytes | None, raw: bytes | None) -> tuple[Incoming, int, int]:
    """(event, attempts so far, not before) of one record of product-retry; raises InvalidRecord."""
    if raw is None:
        raise UndecodableRecord("the record has no value")
    retry = PRODUCT_RETRY.decode(raw, ProductRetry)
    event = PRODUCT_ADDED.decode(retry.event, ProductAdded)
    product = product_key(event.tenant, event.product_id)
    check_record_key(key, product)
    resolved = ResolvedVersion(retry.version, retry.sequence)
    return Incoming(product, retry.source, event, resolved), retry.attempts, retry.not_before


class Retries:
    """Reads product-retry, keeps a bounded number of records until their time, and runs each through EmbedStep."""

    def __init__(
        self, kafka: KafkaSettings, slot: int, step: EmbedStep, finisher: Finisher, ledger: AckLedger, clock: Clock
    ) -> None:
        self._topic = kafka.topic(names.PRODUCT_RETRY)
        self._step, self._finisher, self._ledger, self._clock = step, finisher, ledger, clock
        group = kafka.group("retries")
        self._consumer: Consumer = clients.consumer(
            kafka,
            group,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,
            group_instance_id=f"{group}-{slot}",
            partition_assignment_strategy="roundrobin",
        )
        self._waiting: list[_Waiting] = []
        self._number = 0
        self._is_held_back = False
        self._running: set[asyncio.Task[None]] = set()
        self._committed: dict[int, int] = {}
        self._began: dict[Place, int] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        self._consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked)
        commit_at = 0.0
        try:
            while True:
                self._hold_back(len(self._waiting) >= WAITING_MAX)
                messages = await asyncio.to_thread(self._consumer.consume, 100, _POLL_S)
                await self._begin()
                for message in messages:
                    self._take(message)
                self._start_due()
                if self._clock.monotonic() >= commit_at:
                    await asyncio.to_thread(self._commit)
                    commit_at = self._clock.monotonic() + _COMMIT_EVERY_S
        finally:
            self._commit()
            self._consumer.close()

    def _hold_back(self, is_full: bool) -> None:
        """Pause while too many wait; polling goes on, since a consumer that does not poll loses its partitions."""
        if is_full and not self._is_held_back:
            self._consumer.pause(self._consumer.assignment())
        elif self._is_held_back and not is_full:
            self._consumer.resume(self._consumer.assignment())
        self._is_held_back = is_full

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                _log.warning("product-retry cannot be read", reason=error.str())
            return
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        ticket = self._ledger.deliver(Place(self._topic, partition), offset)
        if ticket is None:
            return
        source = Source(names.PRODUCT_RETRY, partition, offset, message.timestamp()[1])
        key, value = message.key(), message.value()
        received = Received(ticket, source, _bytes(key), _bytes(value))
        self._number += 1
        heapq.heappush(self._waiting, _Waiting(self._due(received), self._number, received))

    def _due(self, received: Received) -> int:
        try:
            return read_retry(received.key, received.value)[2]
        except InvalidRecord:
            return 0  # at once: it becomes a dead letter

    def _start_due(self) -> None:
        now_us = self._clock.now_us()
        while self._waiting and self._waiting[0].due_us <= now_us and len(self._running) < RUNNING_MAX:
            received = heapq.heappop(self._waiting).received
            if not self._ledger.is_current(received.ticket):
                continue
            task = asyncio.create_task(self._finisher.run(self._again, received))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _again(self, received: Received) -> str:
        incoming, attempts, _ = read_retry(received.key, received.value)
        return await self._step.again(incoming, received, attempts)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        committed = consumer.committed(partitions, timeout=10)
        for partition in committed:
            if partition.offset < 0:
                partition.offset = consumer.get_watermark_offsets(partition, timeout=10)[0]
            self._began[Place(self._topic, partition.partition)] = partition.offset
            self._ledger.begin(Place(self._topic, partition.partition), partition.offset)
        consumer.assign(committed)

    async def _begin(self) -> None:
        """Pass on what was assigned while the consumer was polled, in another thread."""
        if self._began:
            began, self._began = self._began, {}
            await self._finisher.on_begin(began)

    def _revoked(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._commit()
        for partition in partitions:
            self._ledger.end(Place(self._topic, partition.partition))
            self._committed.pop(partition.partition, None)

    def _commit(self) -> None:
        offsets = []
        for topic, partition in self._ledger.places:
            watermark = self._ledger.watermark(Place(topic, partition))
            if watermark is not None and self._committed.get(partition) != watermark:
                self._committed[partition] = watermark
                offsets.append(TopicPartition(topic, partition, watermark))
        if not offsets:
            return
        try:
            with clients.kafka_errors("commit product-retry"):
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except FreshlensError as error:
            self._committed.clear()
            _log.warning("product-retry is committed later", reason=error.message)


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
