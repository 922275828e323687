"""When a worker is behind, rather than in a rush."""

import asyncio
from typing import cast

import pytest

from schemas.events import Source
from schemas.metrics import RecordingMetrics
from streams import intake as intake_module
from streams.app import Received
from streams.emitting import Finisher, Work
from streams.intake import Intake
from streams.ledger import Place, Ticket
from streams.room import Room


class Open:
    """Does the work and sees to nothing."""

    async def until_open(self) -> None:
        pass

    def delivered(self, received: Received) -> None:
        pass

    async def run(self, work: Work, received: Received) -> None:
        await work(received)


def received(offset: int) -> Received:
    return Received(Ticket(Place("t", 0), offset, 1), Source("product-added", 0, offset, 0), None, b"")


@pytest.mark.parametrize(("long_s", "is_behind"), [(-1.0, True), (3600.0, False)])
async def test_it_is_behind_while_much_is_in_flight_for_long(
    monkeypatch: pytest.MonkeyPatch, long_s: float, is_behind: bool
) -> None:
    monkeypatch.setattr(intake_module, "_LONG_S", long_s)
    may_end = asyncio.Event()

    async def slow(_: Received) -> str:
        await may_end.wait()
        return "indexed"

    intake = Intake(slow, cast("Finisher", Open()), Room(events_max=40, bytes_max=1_000), RecordingMetrics())
    await intake.take(received(0))
    assert not intake.is_behind, "one alone is nothing"
    for offset in range(1, 4):
        await intake.take(received(offset))
    assert intake.is_behind is is_behind
    may_end.set()
    while intake._began:
        await asyncio.sleep(0)
    assert not intake.is_behind
