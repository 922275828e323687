"""The hosts that pictures are fetched from: how many fetches each may have at a time, and which are down just now."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias
from weakref import WeakValueDictionary

from schemas.errors import ImageSourceUnavailable
from schemas.metrics import Metrics

Line: TypeAlias = tuple[str, float]
"""An origin, and how patient its callers are: a host too slow for a first look may answer a retry."""

FAILURES_MAX = 3
DOWN_S_MIN = 2.0
DOWN_S_MAX = 30.0
TOLD_S_MAX = 60.0
"""A host may ask for a longer rest: the one picture gets it, and others are looked for, as theirs may be another's."""
TURN_WAIT_S = 1.0
FETCHES_MAX = 512
"""At all hosts together: each is a socket, and may be as many bytes as a picture has."""
_KNOWN_MAX = 10_000


@dataclass(slots=True)
class _Trouble:
    failures: int = 0
    rests: int = 0
    until: float = 0.0
    is_probed: bool = False


class DownHosts:
    """Remembers for a short while who did not answer: a circuit breaker for each line. Pure; ``now`` in seconds.

    After FAILURES_MAX failures in a row a host is down; then one fetch at a time is let through to see whether it
    still is, and each time that fails the rest doubles.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Line, _Trouble] = OrderedDict()

    def admit(self, line: Line, now: float) -> float:
        """0 where a fetch may begin, and must be reported back; else in how many seconds to come again."""
        trouble = self._known.get(line)
        if trouble is None or trouble.failures < FAILURES_MAX:
            return 0.0
        if now < trouble.until:
            return trouble.until - now
        # One that is never reported back, because it was cancelled, holds up the next no longer than it could last.
        trouble.until, trouble.is_probed = now + line[1], True
        return 0.0

    def answered(self, line: Line) -> None:
        self._known.pop(line, None)

    def failed(self, line: Line, now: float) -> bool:
        """Report a failure; whether the host is found down by it."""
        trouble = self._trouble(line)
        trouble.failures += 1
        if trouble.failures < FAILURES_MAX or (now < trouble.until and not trouble.is_probed):
            return False
        trouble.until = now + min(DOWN_S_MIN * 2**trouble.rests, DOWN_S_MAX)
        trouble.rests = min(trouble.rests + 1, 16)
        trouble.is_probed = False
        return True

    def told(self, line: Line, now: float, rest_s: float) -> None:
        """The host itself asked to be left alone for ``rest_s``."""
        trouble = self._trouble(line)
        trouble.failures, trouble.is_probed = FAILURES_MAX, False
        trouble.until = now + min(rest_s, TOLD_S_MAX)

    def _trouble(self, line: Line) -> _Trouble:
        trouble = self._known.setdefault(line, _Trouble())
        self._known.move_to_end(line)
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)
        return trouble


class Hosts:
    """Turns at each host. A host that is busy or down refuses its own callers and no others."""

    def __init__(self, per_host_max: int, metrics: Metrics) -> None:
        self._per_host_max, self._metrics = per_host_max, metrics
        self._turns: WeakValueDictionary[Line, asyncio.Semaphore] = WeakValueDictionary()
        self._all = asyncio.Semaphore(FETCHES_MAX)
        self._down = DownHosts()

    @asynccontextmanager
    async def turn(self, line: Line, deadline: float) -> AsyncIterator[None]:
        """A turn at a host; what comes of it is reported by the other methods.

        Raises:
            ImageSourceUnavailable: the host is down, or has no turn within TURN_WAIT_S and half of the time left, so
                that the other half is the host's.
        """
        turns = self._turns.get(line)
        if turns is None:
            turns = self._turns[line] = asyncio.Semaphore(self._per_host_max)
        now = self._now()
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout_at(min((now + deadline) / 2, now + TURN_WAIT_S)):
                    await held.enter_async_context(turns)
                    await held.enter_async_context(self._all)
            except TimeoutError:
                said = f"{line[0]} has {self._per_host_max} fetches in hand, and no other began in time"
                raise ImageSourceUnavailable(said, why="host-busy") from None
            if rest_s := self._down.admit(line, self._now()):
                said = f"{line[0]} did not answer before, and is asked again later"
                raise ImageSourceUnavailable(said, why="host-down", retry_after_s=rest_s)
            yield

    def answered(self, line: Line) -> None:
        """It answered, whatever it said."""
        self._down.answered(line)

    def failed(self, line: Line) -> None:
        """It did not answer."""
        if self._down.failed(line, self._now()):
            self._metrics.count("freshlens_fetch_hosts_down_total")

    def told(self, line: Line, rest_s: float) -> None:
        """It asked to be left alone."""
        self._down.told(line, self._now(), rest_s)
        self._metrics.count("freshlens_fetch_hosts_down_total")

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
