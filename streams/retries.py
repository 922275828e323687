"""product-retry: events whose pictures were not there yet, and replayed dead letters, tried again in their time.

A consumer of its own, apart from Faust's: a record that waits for its time must not hold back new events.
"""

import asyncio
import heapq
from dataclasses import dataclass, field

from processors.added import Incoming
from schemas.clock import Clock
from schemas.errors import InvalidRecord, UndecodableRecord
from schemas.events import ProductAdded, ProductRetry
from schemas.framing import PRODUCT_ADDED, PRODUCT_RETRY
from schemas.identity import check_record_key, product_key
from schemas.versions import ResolvedVersion
from streams.app import Received
from streams.embed import RETRY_US_MAX, EmbedStep
from streams.emitting import Finisher
from streams.ledger import AckLedger
from streams.ledger_consumer import LedgerConsumer

WAITING_MAX = 2_000
HELD_BYTES_MAX = 64 << 20
"""Of those that wait or run: a replayed dead letter has its pictures within, up to 12 MiB."""
RUNNING_MAX = 32


@dataclass(order=True, slots=True)
class _Waiting:
    due_s: float
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
        self, consumer: LedgerConsumer, step: EmbedStep, finisher: Finisher, ledger: AckLedger, clock: Clock
    ) -> None:
        self._consumer = consumer
        self._step, self._finisher, self._ledger, self._clock = step, finisher, ledger, clock
        self._waiting: list[_Waiting] = []
        self._number = 0
        self._running: set[asyncio.Task[None]] = set()
        self._held_bytes = 0

    async def run(self) -> None:
        """Work until cancelled."""
        async with self._consumer.subscribed():
            while True:
                self._consumer.hold_back(len(self._waiting) >= WAITING_MAX or self._held_bytes >= HELD_BYTES_MAX)
                for received in await self._consumer.polled():
                    self._number += 1
                    self._held_bytes += len(received.value or b"")
                    heapq.heappush(self._waiting, _Waiting(self._due(received), self._number, received))
                self._start_due()

    def _due(self, received: Received) -> float:
        """When to try this one, in seconds of the monotonic clock."""
        now_us = self._clock.now_us()
        try:
            not_before = read_retry(received.key, received.value)[2]
        except InvalidRecord:
            not_before = now_us  # it becomes a dead letter
        # The sender's clock may have been ahead, or ours be put back; and what waits holds up all that comes after it.
        return self._clock.monotonic() + min(not_before - now_us, RETRY_US_MAX) / 1_000_000

    def _start_due(self) -> None:
        now_s = self._clock.monotonic()
        while self._waiting and self._waiting[0].due_s <= now_s and len(self._running) < RUNNING_MAX:
            received = heapq.heappop(self._waiting).received
            task = asyncio.create_task(self._run(received))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, received: Received) -> None:
        try:
            if self._ledger.is_current(received.ticket):
                await self._finisher.run(self._again, received)
        finally:
            self._held_bytes -= len(received.value or b"")

    async def _again(self, received: Received) -> str:
        incoming, attempts, _ = read_retry(received.key, received.value)
        return await self._step.again(incoming, received, attempts)
