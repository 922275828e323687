"""What waits on product-retry is held within bounds, however large the records."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from schemas.clock import ManualClock
from schemas.events import Source
from streams.app import Received
from streams.embed import EmbedStep
from streams.emitting import Finisher, Work
from streams.ledger import AckLedger, Place
from streams.ledger_consumer import LedgerConsumer
from streams.retries import HELD_BYTES_MAX, Retries

PLACE = Place("product-retry", 0)
LARGE = HELD_BYTES_MAX // 4


class Group:
    """A consumer with a large record for every poll, unless it is held back."""

    def __init__(self, ledger: AckLedger) -> None:
        self._ledger, self.delivered, self.is_held_back = ledger, 0, False
        ledger.begin(PLACE, 0)

    @asynccontextmanager
    async def subscribed(self) -> AsyncIterator[None]:
        yield

    def hold_back(self, is_full: bool) -> None:
        self.is_held_back = is_full

    async def polled(self) -> list[Received]:
        await asyncio.sleep(0)
        if self.is_held_back or self.delivered == 20:
            return []
        ticket = self._ledger.deliver(PLACE, self.delivered)
        assert ticket is not None
        self.delivered += 1
        return [Received(ticket, Source("product-retry", 0, self.delivered, 0), None, bytes(LARGE))]


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


async def test_large_records_are_read_no_faster_than_they_are_finished() -> None:
    ledger, slow = AckLedger(), Slow()
    group = Group(ledger)
    retries = Retries(
        cast("LedgerConsumer", group), cast("EmbedStep", None), cast("Finisher", slow), ledger, ManualClock()
    )
    working = asyncio.create_task(retries.run())
    assert await settled(group) == 4, "as many as there is room for"
    slow.go_on.set()
    while slow.finished < 20:
        await asyncio.sleep(0)
    working.cancel()
