"""The hot lane follows its group, whatever holds its records up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from schemas.events import Source
from streams.app import Received
from streams.hot_lane import WAITING_MAX, run_hot_lane
from streams.intake import Intake
from streams.ledger import AckLedger, Place
from streams.ledger_consumer import LedgerConsumer

PLACE = Place("product-added-hot", 0)


class Group:
    """A consumer that gives its records at the first poll, and counts the others."""

    def __init__(self, ledger: AckLedger) -> None:
        ledger.begin(PLACE, 0)
        tickets = [ticket for offset in range(WAITING_MAX + 1) if (ticket := ledger.deliver(PLACE, offset)) is not None]
        self._records = [
            Received(ticket, Source("product-added-hot", 0, offset, 0), None, b"")
            for offset, ticket in enumerate(tickets)
        ]
        self.polls = 0
        self.is_held_back = False

    @asynccontextmanager
    async def subscribed(self) -> AsyncIterator[None]:
        yield

    async def polled(self) -> list[Received]:
        self.polls += 1
        await asyncio.sleep(0)
        records, self._records = self._records, []
        return records

    def hold_back(self, is_full: bool) -> None:
        self.is_held_back = is_full


class Paused:
    """An intake that takes nothing until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.taken: list[int] = []

    async def take(self, received: Received) -> None:
        await self.opened.wait()
        self.taken.append(received.ticket.offset)

    def cancel(self) -> None:
        pass


async def until_polled(group: Group, times: int) -> None:
    wanted = group.polls + times
    while group.polls < wanted:
        await asyncio.sleep(0)


async def test_a_paused_worker_polls_on_and_leaves_to_others_what_became_theirs() -> None:
    ledger, intake = AckLedger(), Paused()
    group = Group(ledger)
    lane = asyncio.create_task(
        run_hot_lane(cast("LedgerConsumer", group), cast("Intake", intake), ledger),
    )
    await until_polled(group, 10)
    assert group.is_held_back
    assert intake.taken == []
    ledger.end(PLACE)  # the group gave the partition to another worker
    intake.opened.set()
    await until_polled(group, 10)
    assert intake.taken == [0], "the first was in hand already; the others are another worker's"
    assert not group.is_held_back
    lane.cancel()
    await asyncio.gather(lane, return_exceptions=True)
