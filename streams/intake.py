"""Takes events as fast as there is room, each in a task of its own, so that none waits for another."""

import asyncio

from schemas.metrics import Metrics
from streams.app import Received
from streams.emitting import Finisher, Work
from streams.room import Room

_YIELD_EVERY = 8
_LONG_S = 0.5


class Intake:
    """The handler of an agent: gives every record the same work, within a bound on what is in flight."""

    def __init__(self, work: Work, finisher: Finisher, room: Room, metrics: Metrics) -> None:
        self._work, self._finisher, self._room, self._metrics = work, finisher, room, metrics
        self._began: dict[asyncio.Task[None], float] = {}
        self._taken = 0

    @property
    def is_behind(self) -> bool:
        """Whether much is in flight, and the oldest of it for long: as behind a slow model, and not in a mere rush."""
        now = asyncio.get_running_loop().time()
        return self._room.is_crowded and now - next(iter(self._began.values()), now) > _LONG_S

    async def take(self, received: Received) -> None:
        """Take one record; waits for room, and while the worker is paused."""
        await self._finisher.until_open()
        await self._room.enter(len(received.value or b""))
        self._finisher.delivered(received)
        task = asyncio.create_task(self._run(received))
        self._began[task] = asyncio.get_running_loop().time()
        task.add_done_callback(self._began.pop)
        self._metrics.gauge("freshlens_inflight_events", self._room.events)
        self._taken += 1
        if self._taken % _YIELD_EVERY == 0:
            # Taken in one go, a few hundred of a flood would stop everything else while they are read.
            await asyncio.sleep(0)

    def cancel(self) -> None:
        """Drop what is in flight; it is delivered again."""
        for task in self._began:
            task.cancel()

    async def _run(self, received: Received) -> None:
        try:
            await self._finisher.run(self._work, received)
        finally:
            self._room.leave(len(received.value or b""))
