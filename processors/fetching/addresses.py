"""Which addresses of the internet are public. Pure; ``ipaddress`` alone calls several of these global."""

import ipaddress
from typing import Literal, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Reach: TypeAlias = Literal["public", "private", "forbidden"]


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_FORBIDDEN = _networks(
    # Link-local: there lie the metadata services of the clouds, which give away credentials, and of containers.
    "169.254.0.0/16", "fe80::/10",
    # Further metadata services: AWS by IPv6, Google by IPv6, Alibaba, Oracle, Azure.
    "fd00:ec2::/32", "fd20:ce::254/128", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32",
    "224.0.0.0/4", "ff00::/8", "255.255.255.255/32",
)  # fmt: skip
_NOT_PUBLIC = _networks(
    "192.0.0.0/24", "192.88.99.0/24",
    # Protocol assignments with Teredo, documentation, 6to4: nobody serves pictures there, and some lead to IPv4.
    "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)  # fmt: skip
_UNICAST = ipaddress.IPv6Network("2000::/3")
"""The only part of IPv6 that is given to hosts of the internet."""


def address_of(text: str) -> Address:
    """The address that a connection to ``text`` leads to: the IPv4 one within a mapped or NAT64 one.

    Raises:
        ValueError: not an address in its canonical form.
    """
    found = ipaddress.ip_address(text.partition("%")[0])
    if not isinstance(found, ipaddress.IPv6Address):
        return found
    if found in _NAT64:
        return ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found.ipv4_mapped or found


def reach(address: Address) -> Reach:
    """``public``; ``private``, which an operator may open as a whole; or ``forbidden``, only ever opened by name."""
    if any(address in network for network in _FORBIDDEN):
        return "forbidden"
    is_public = address.is_global and not any(address in network for network in _NOT_PUBLIC)
    if isinstance(address, ipaddress.IPv6Address):
        is_public = is_public and address in _UNICAST
    return "public" if is_public else "private"
