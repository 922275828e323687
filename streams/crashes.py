"""A record that kills its worker is found, tried alone, and given up at its third crash (HOLES 19).

Which records are in hand is written to a journal in the data folder before each is worked on. After a crash those are
suspects, and few are in hand at a time until they are through: each crash leaves fewer, down to one. Only a crash with
a single record in hand counts against that record, so that no neighbour is blamed.
"""

import asyncio
import mmap
import os
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path
from typing import BinaryIO, NamedTuple

import structlog

from streams.ledger import Place, Ticket
from streams.room import Room

CRASHES_MAX = 3
JOURNAL_BYTES_MAX = 1024 * 1024
_log = structlog.get_logger()


class Where(NamedTuple):
    """One record of an input topic, by the topic's name on the cluster."""

    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class Suspicion:
    """What a journal says. Pure.

    Attributes:
        in_hand: being worked on when the journal ended.
        suspects: in hand at the last crash, and not finished since.
        crashes: how often the process ended with this record alone in hand.
    """

    in_hand: dict[Where, None] = field(default_factory=dict)
    suspects: dict[Where, None] = field(default_factory=dict)
    crashes: dict[Where, int] = field(default_factory=dict)

    @staticmethod
    def read(lines: Iterable[str]) -> "Suspicion":
        """Follow a journal, whose last line may be torn."""
        read = Suspicion()
        for line in lines:
            match line.split():
                case [sign, topic, *rest, "."] if len(rest) >= 2 and all(number.isdecimal() for number in rest):
                    partition, offset, *counts = map(int, rest)
                    read._follow(sign, Where(topic, partition, offset), *counts)
        return read

    def _follow(self, sign: str, where: Where, *counts: int) -> None:
        if sign == "+":
            self.in_hand[where] = None
        elif sign == "-":
            self.finished(where)
        elif sign == "?":
            self.suspects[where] = None
        elif sign == "!":
            self.crashes[where] = sum(counts)

    def lines(self) -> str:
        """The shortest journal that says the same."""
        counted = [f"! {where.topic} {where.partition} {where.offset} {n} .\n" for where, n in self.crashes.items()]
        suspects = [_line("?", where) for where in self.suspects]
        return "".join([*counted, *suspects, *(_line("+", where) for where in self.in_hand)])

    def after_crash(self) -> "Suspicion":
        """The process ended with these in hand. If nothing was, the suspects of before are suspects still."""
        crashes = dict(self.crashes)
        if len(self.in_hand) == 1:
            (alone,) = self.in_hand
            crashes[alone] = crashes.get(alone, 0) + 1
        return Suspicion({}, dict(self.in_hand or self.suspects), crashes)

    @property
    def together(self) -> int:
        """How many records may be in hand at a time: fewer than there are suspects, and alone in the end."""
        return max(1, isqrt(len(self.suspects))) if self.suspects else sys.maxsize

    def finished(self, where: Where) -> None:
        """The process survived this record."""
        for known in (self.in_hand, self.suspects, self.crashes):
            known.pop(where, None)

    def begin(self, began: Mapping[Place, int]) -> None:
        """Partitions of these topics were assigned, from these offsets on: what does not come again is forgotten."""
        topics = {place.topic for place in began}
        for where in [each for each in self.suspects if each.topic in topics]:
            if where.offset < began.get(Place(where.topic, where.partition), sys.maxsize):
                del self.suspects[where]
        for where in list(self.crashes):
            if where.offset < began.get(Place(where.topic, where.partition), 0):
                del self.crashes[where]


class CrashJournal:
    """The journal of one worker process. Use it from one event loop."""

    def __init__(self, path: Path) -> None:
        """Learn from the journal at ``path`` how the process before ended, and begin a new one there."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text(errors="replace").splitlines() if path.exists() else []
        self._state = Suspicion.read(before).after_crash()
        self._together = self._state.together
        self._room = Room(self._together, sys.maxsize)
        self._begin()
        self._is_closed = False
        if self._state.suspects:
            _log.warning("the process before crashed", suspects=len(self._state.suspects), together=self._together)

    def crashes(self, ticket: Ticket) -> int:
        """How often the process crashed with this record alone in hand."""
        return self._state.crashes.get(_where(ticket), 0)

    @asynccontextmanager
    async def in_hand(self, ticket: Ticket) -> AsyncIterator[None]:
        """Wait until this record may be worked on, and have it in the journal meanwhile."""
        await self._room.enter(0)
        where = _where(ticket)
        self._state.in_hand[where] = None
        self._write(_line("+", where))
        try:
            yield
        except asyncio.CancelledError:
            self._state.in_hand.pop(where, None)  # not survived, only dropped: a suspect remains one
            raise
        except Exception:
            self._survived(where)
            raise
        else:
            self._survived(where)
        finally:
            self._room.leave(0)

    async def on_begin(self, began: Mapping[Place, int]) -> None:
        """Partitions were assigned; suspects that are not among them are somebody else's."""
        if self._state.suspects:
            self._state.begin(began)
            self._widen()

    def close(self) -> None:
        """A clean end: nobody is suspected."""
        self._state.in_hand.clear()
        self._is_closed = True
        self._replaced(0).close()

    def _survived(self, where: Where) -> None:
        self._state.finished(where)
        self._write(_line("-", where))
        self._widen()

    def _widen(self) -> None:
        if self._together != sys.maxsize and not self._state.suspects:
            self._together = sys.maxsize
            self._room.widen(sys.maxsize)

    def _write(self, line: str) -> None:
        if self._is_closed:
            return
        raw = line.encode()
        if self._end + len(raw) > len(self._map):
            self._begin_again()  # with what this line says already in it
            return
        self._map[self._end : self._end + len(raw)] = raw
        self._end += len(raw)

    def _begin_again(self) -> None:
        try:
            self._begin()
        except OSError as error:
            _log.warning("the crash journal cannot be written", reason=str(error))

    def _begin(self) -> None:
        """A new journal in the place of the old one, mapped: a line costs no call of the system, and outlives us."""
        with self._replaced(JOURNAL_BYTES_MAX) as file:
            self._end = file.tell()
            self._map = mmap.mmap(file.fileno(), 0)

    def _replaced(self, room_bytes: int) -> BinaryIO:
        """The journal anew, with the disk's promise of so much room behind what it says; raises OSError."""
        fresh = self._path.with_suffix(".new")
        file = fresh.open("w+b")
        try:
            file.write(self._state.lines().encode())
            file.flush()
            if room_bytes:
                os.posix_fallocate(file.fileno(), file.tell(), room_bytes)
            fresh.replace(self._path)
        except OSError:
            file.close()
            raise
        return file


def _where(ticket: Ticket) -> Where:
    return Where(ticket.place.topic, ticket.place.partition, ticket.offset)


def _line(sign: str, where: Where) -> str:
    return f"{sign} {where.topic} {where.partition} {where.offset} .\n"
