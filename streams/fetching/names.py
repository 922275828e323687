"""Looking names up: name servers that are silent or slow hold up their own names and no others."""

import asyncio
import socket
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from schemas.errors import ImageSourceUnavailable

_Question: TypeAlias = tuple[str, int, int]
PER_ZONE_MAX = 8
TURN_WAIT_S = 0.4
"""Less than the shortest fetch has: no look-up waits for a turn when all who wanted it are gone."""
PROMPT_S = 1.0
_PROMPT_MAX = 64
_OTHERS_MAX = 32
_KNOWN_MAX = 4_096


@dataclass(slots=True, eq=False)
class _Zone:
    """Has one look-up at a time until it answers promptly, then PER_ZONE_MAX."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    is_prompt: bool = False


class Names:
    """Looks names up in threads of their own, most of which are for zones that answered promptly before.

    A name server that does not answer must not keep the threads that read files and write pictures, nor may any number
    of new zones keep those of the others. Build and close it within the event loop that uses it.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_PROMPT_MAX + _OTHERS_MAX, "names")
        self._for_prompt, self._for_others = asyncio.Semaphore(_PROMPT_MAX), asyncio.Semaphore(_OTHERS_MAX)
        self._zones: OrderedDict[str, _Zone] = OrderedDict()
        self._under_way: dict[_Question, asyncio.Future[list[Any]]] = {}

    async def look_up(self, host: str, port: int, family: int) -> list[Any]:
        """What ``socket.getaddrinfo`` says; one look-up at a time for a name, so that one that hangs holds one thread.

        Raises:
            ImageSourceUnavailable: ``names-busy``: nobody was asked, since no thread was free for its zone.
            OSError: as ``socket.getaddrinfo``.
        """
        key = (host.lower(), port, family)
        look_up = self._under_way.get(key)
        if look_up is None:
            look_up = self._under_way[key] = asyncio.ensure_future(self._asked(*key))
            look_up.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(look_up)

    @property
    def under_way(self) -> int:
        """How many look-ups run or wait."""
        return len(self._under_way)

    def close(self) -> None:
        """Give all of them up."""
        for look_up in self._under_way.values():
            look_up.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _asked(self, host: str, port: int, family: int) -> list[Any]:
        loop, name = asyncio.get_running_loop(), zone_of(host)
        zone = self._zone(name)
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(TURN_WAIT_S):
                    await held.enter_async_context(zone.turns)
                    await held.enter_async_context(self._for_prompt if zone.is_prompt else self._for_others)
            except TimeoutError:
                said = f"{host[:200]} was not looked up: others of {name[:200]} are, and take their time"
                raise ImageSourceUnavailable(said, why="names-busy") from None
            asked_s = loop.time()
            try:
                return await loop.run_in_executor(
                    self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
                )
            finally:
                self._took(name, zone, loop.time() - asked_s)

    def _zone(self, name: str) -> _Zone:
        zone = self._zones.setdefault(name, _Zone())
        self._zones.move_to_end(name)
        if len(self._zones) > _KNOWN_MAX:
            self._zones.popitem(last=False)
        return zone

    def _took(self, name: str, zone: _Zone, seconds: float) -> None:
        """It is the time that counts, whatever the answer: threads are what there is little of."""
        if seconds > PROMPT_S:
            if zone.is_prompt and self._zones.get(name) is zone:
                del self._zones[name]  # it begins anew
        elif not zone.is_prompt:
            zone.is_prompt = True
            for _ in range(PER_ZONE_MAX - 1):
                zone.turns.release()

    def _done(self, key: _Question, look_up: asyncio.Future[list[Any]]) -> None:
        del self._under_way[key]
        if not look_up.cancelled():
            look_up.exception()  # whoever asked may be gone, and that is no reason for a warning


def zone_of(host: str) -> str:
    """The part of a name that somebody registered, more or less: ``shop.example``, ``shop.co.uk``."""
    labels = host.lower().rstrip(".").split(".")
    is_shared = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3 if is_shared else -2 :])
