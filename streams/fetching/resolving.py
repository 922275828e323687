"""From a host name to addresses that may be connected to: checked when resolved, and again when connected."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from aiohttp.abc import AbstractResolver, ResolveResult

from processors.fetching.policy import FetchPolicy, check_address

_Question: TypeAlias = tuple[str, int, int]
THREADS = 64
"""Of their own: a name server that does not answer must not keep the threads that read files and write pictures."""
PER_ZONE_MAX = 8
"""Nor may one that answers for any number of names keep all of these."""


class Resolver(AbstractResolver):
    """Resolves names; a connection goes to exactly the addresses that are returned. ``policy`` None: any address."""

    def __init__(self, threads: ThreadPoolExecutor, policy: FetchPolicy | None) -> None:
        self._threads, self._policy = threads, policy
        self._zones: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._under_way: dict[_Question, asyncio.Future[list[Any]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises ImageRefused, and OSError as ``socket.getaddrinfo``."""
        found = await self._looked_up(host, port, family)
        if self._policy is not None:
            for *_, address in found:
                # One refused address refuses the name: which one is connected to is not ours to say.
                check_address(str(address[0]), self._policy)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        for look_up in self._under_way.values():
            look_up.cancel()

    async def _looked_up(self, host: str, port: int, family: int) -> list[Any]:
        """One look-up at a time for a name, so that a name that hangs holds one thread."""
        key = (host.lower(), port, family)
        look_up = self._under_way.get(key)
        if look_up is None:
            look_up = self._under_way[key] = asyncio.ensure_future(self._asked(*key))
            look_up.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(look_up)

    async def _asked(self, host: str, port: int, family: int) -> list[Any]:
        zone = zone_of(host)
        turns = self._zones.get(zone)
        if turns is None:
            turns = self._zones[zone] = asyncio.Semaphore(PER_ZONE_MAX)
        async with turns:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
            )

    def _done(self, key: _Question, look_up: asyncio.Future[list[Any]]) -> None:
        del self._under_way[key]
        if not look_up.cancelled():
            look_up.exception()  # whoever asked may be gone, and that is no reason for a warning


def zone_of(host: str) -> str:
    """The part of a name that somebody registered, more or less: ``shop.example``, ``shop.co.uk``."""
    labels = host.lower().rstrip(".").split(".")
    is_shared = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3 if is_shared else -2 :])


def checked_socket(policy: FetchPolicy, info: Any) -> socket.socket:
    """A socket for one address, the last thing before a connection: no address gets past, by whatever way it came.

    Raises:
        ImageRefused: not an address that may be connected to.
    """
    family, kind, protocol, _, address = info
    check_address(str(address[0]), policy)
    return socket.socket(family=family, type=kind, proto=protocol)
