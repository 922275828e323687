"""A bound on what is in flight, in events and in bytes: the one place where a worker holds back its input."""

import asyncio
from collections import deque

_CROWDED = 0.05


class Room:
    """Room for ``events_max`` events of ``bytes_max`` bytes in all; first come, first served.

    A single event larger than all of it is let in alone.
    """

    def __init__(self, events_max: int, bytes_max: int) -> None:
        assert events_max >= 1, events_max
        self._events_max, self._bytes_max = events_max, bytes_max
        self.events = 0
        self.bytes = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def is_crowded(self) -> bool:
        """Whether more of it is taken than work that keeps up would take."""
        return self.events > _CROWDED * self._events_max or self.bytes > _CROWDED * self._bytes_max

    async def enter(self, size: int) -> None:
        """Wait for room, and take it."""
        if not self._waiting and self._fits(size):
            self._take(size)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(size)  # it was let in, and never learned of it
            raise

    def leave(self, size: int) -> None:
        """Give the room back."""
        self.events -= 1
        self.bytes -= size
        self._let_in()

    def resize(self, before: int, after: int) -> None:
        """What was let in with ``before`` bytes has ``after``."""
        self.bytes += after - before
        self._let_in()

    def grow(self, before: int, after: int) -> bool:
        """What was let in with ``before`` bytes gets room for ``after``, if there is so much left, or nothing else."""
        if self.events > 1 and self.bytes + after - before > self._bytes_max:
            return False
        self.bytes += after - before
        return True

    def widen(self, events_max: int) -> None:
        """From now on there is room for so many events, at least as many as before."""
        assert events_max >= self._events_max, events_max
        self._events_max = events_max
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            next_size, turn = self._waiting.popleft()
            if not turn.done():
                self._take(next_size)
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return self.events == 0 or (self.events < self._events_max and self.bytes + size <= self._bytes_max)

    def _take(self, size: int) -> None:
        self.events += 1
        self.bytes += size


class Share:
    """What one picture has of a room: nothing at first, then as much as it turns out to need."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size: int | None = None

    async def take(self, size: int) -> None:
        """Wait for so much, in place of what it had."""
        self.give_back()
        await self._room.enter(size)
        self._size = size

    def has_room(self, size: int) -> bool:
        """Whether it has so much, or could get it at once."""
        assert self._size is not None
        if size > self._size:
            if not self._room.grow(self._size, size):
                return False
            self._size = size
        return True

    def settle(self, size: int) -> None:
        """It has turned out to need so much."""
        assert self._size is not None
        self._room.resize(self._size, size)
        self._size = size

    def give_back(self) -> None:
        """Leave the room, if it is in it."""
        if self._size is not None:
            self._room.leave(self._size)
            self._size = None
