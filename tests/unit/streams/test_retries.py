"""What waits on product-retry is held within bounds, however large the records, and tried within a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from schemas.clock import ManualClock
from schemas.events import Offer, ProductAdded, ProductRetry, Source
from schemas.framing import PRODUCT_ADDED, PRODUCT_RETRY
from streams.app import Received
from streams.embed import RETRY_US_MAX, EmbedStep
from streams.emitting import Finisher, Work
from streams.ledger import AckLedger, Place
from streams.ledger_consumer import LedgerConsumer
from streams.retries import HELD_BYTES_MAX, Retries

S = 1_000_000
PLACE = Place("product-retry", 0)
LARGE = HELD_BYTES_MAX // 4


class Group:
    """A consumer with a record for every poll, unless it is held back."""

    def __init__(self, ledger: AckLedger, *values: bytes) -> None:
        self._ledger, self._values = ledger, values
        self.delivered, self.is_held_back = 0, False
        ledger.begin(PLACE, 0)

    @asynccontextmanager
    async def subscribed(self) -> AsyncIterator[None]:
        yield

    def hold_back(self, is_full: bool) -> None:
        self.is_held_back = is_full

    async def polled(self) -> list[Received]:
        await asyncio.sleep(0)
        if self.is_held_back or self.delivered == len(self._values):
            return []
        key, value = b"shop/p", self._values[self.delivered]
        ticket = self._ledger.deliver(PLACE, self.delivered)
        assert ticket is not None
        self.delivered += 1
        return [Received(ticket, Source("product-retry", 0, self.delivered, 0), key, value)]


class Slow:
    """Finishes what it was given once told to."""

    def __init__(self) -> None:
        self.go_on, self.finished = asyncio.Event(), 0

    async def run(self, _work: Work, _received: Received) -> None:
        await self.go_on.wait()
        self.finished += 1


async def settled(group: Group) -> int:
    """How many records were delivered once no more are."""
    before = -1
    while before != group.delivered:
        before = group.delivered
        for _ in range(20):
            await asyncio.sleep(0)
    return group.delivered


def retrying(group: Group, slow: Slow, ledger: AckLedger, clock: ManualClock) -> Retries:
    return Retries(cast("LedgerConsumer", group), cast("EmbedStep", None), cast("Finisher", slow), ledger, clock)


async def test_large_records_are_read_no_faster_than_they_are_finished() -> None:
    ledger, slow = AckLedger(), Slow()
    group = Group(ledger, *[bytes(LARGE)] * 20)
    retries = retrying(group, slow, ledger, ManualClock())
    working = asyncio.create_task(retries.run())
    assert await settled(group) == 4, "as many as there is room for"
    slow.go_on.set()
    while slow.finished < 20:
        await asyncio.sleep(0)
    working.cancel()


async def test_a_record_of_a_clock_that_was_a_day_ahead_waits_no_longer_than_any() -> None:
    ledger, slow, clock = AckLedger(), Slow(), ManualClock()
    slow.go_on.set()
    event = PRODUCT_ADDED.encode(ProductAdded("shop", "p", offer=Offer(price=1)))
    retry = ProductRetry(event, Source("product-added", 0, 7, 0), 0, 0, 1, clock.now_us() + 24 * 3600 * S)
    group = Group(ledger, PRODUCT_RETRY.encode(retry))
    working = asyncio.create_task(retrying(group, slow, ledger, clock).run())
    assert await settled(group) == 1
    clock.advance(RETRY_US_MAX / S - 1)
    await settled(group)
    assert slow.finished == 0
    clock.advance(1)
    await settled(group)
    assert slow.finished == 1
    working.cancel()
