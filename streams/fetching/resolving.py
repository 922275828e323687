"""From a host name to addresses that may be connected to: checked when resolved, and again when connected."""

import socket
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from processors.fetching.policy import FetchPolicy, check_address
from streams.fetching.names import Names


class Resolver(AbstractResolver):
    """Resolves names; a connection goes to exactly the addresses that are returned. ``policy`` None: any address."""

    def __init__(self, names: Names, policy: FetchPolicy | None) -> None:
        self._names, self._policy = names, policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises ImageRefused, and as ``Names.look_up``."""
        found = await self._names.look_up(host, port, family)
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
        """Nothing: the names are closed by whoever made them."""


def checked_socket(policy: FetchPolicy, info: Any) -> socket.socket:
    """A socket for one address, the last thing before a connection: no address gets past, by whatever way it came.

    Raises:
        ImageRefused: not an address that may be connected to.
    """
    family, kind, protocol, _, address = info
    check_address(str(address[0]), policy)
    return socket.socket(family=family, type=kind, proto=protocol)
