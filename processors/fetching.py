"""Where pictures may be read from: schemes, folders and addresses. Pure decisions; ``streams.fetch`` acts on them."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from schemas.errors import ImageRefused

_STORED = re.compile(r"store://originals/([0-9a-f]{32})")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """What is allowed, and how much.

    Attributes:
        roots: folders below which ``file://`` is read; none: not at all.
        private_allowed: whether ``http(s)://`` may reach private, loopback and link-local addresses.
        image_bytes_max: more is refused while it arrives.
        redirects_max: each one is checked like the first address.
    """

    roots: tuple[Path, ...] = ()
    private_allowed: bool = False
    image_bytes_max: int = 16 * 1024 * 1024
    redirects_max: int = 3


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A local file; its real path must pass :func:`check_below_roots`."""

    path: Path


@dataclass(frozen=True, slots=True)
class StoredPlace:
    """An original in our own store, by the hexadecimal hash of its bytes."""

    content_hash: str


@dataclass(frozen=True, slots=True)
class WebPlace:
    """A web address; every address it resolves to must pass :func:`check_address`."""

    url: str
    host: str


Place: TypeAlias = FilePlace | StoredPlace | WebPlace


class PictureSource(Protocol):
    """Fetches the bytes of a picture."""

    async def fetch(self, uri: str, *, timeout_s: float) -> bytes:
        """The bytes behind a URI.

        Raises:
            ImageRefused: a place we do not read from. Dead-letter.
            ImageTooLarge: more bytes than allowed. Dead-letter.
            ImageSourceUnavailable: not there (yet), or not in time. Try again later.
        """
        ...


def place_of(uri: str, policy: FetchPolicy) -> Place:
    """What a URI points at; raises ImageRefused for what we never read."""
    if stored := _STORED.fullmatch(uri):
        return StoredPlace(stored[1])
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise ImageRefused(f"{uri[:200]!r} is not a URI") from None
    if parts.scheme == "file":
        return _file_place(parts, policy)
    if parts.scheme in ("http", "https") and parts.hostname:
        return _web_place(uri, parts.hostname, policy)
    raise ImageRefused(f"{uri[:200]!r}: pictures are read from https://, http://, file:// and store://originals/")


def check_below_roots(real_path: Path, policy: FetchPolicy) -> None:
    """Do nothing if a path, with every link in it resolved, lies below an allowed folder; raises ImageRefused."""
    if not any(real_path.is_relative_to(root) for root in policy.roots):
        raise ImageRefused(f"{real_path} is not below an allowed folder: name it in FRESHLENS_FETCH_ROOTS")


def check_address(address: str, policy: FetchPolicy) -> None:
    """Do nothing if this IP address may be connected to; raises ImageRefused."""
    if policy.private_allowed:
        return
    found = _embedded(ipaddress.ip_address(address.partition("%")[0]))
    if not found.is_global or found.is_multicast:
        raise ImageRefused(
            f"{address} is a private address: allow such with FRESHLENS_FETCH_PRIVATE=1 where you trust every producer"
        )


def _file_place(parts: SplitResult, policy: FetchPolicy) -> FilePlace:
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or not path.is_absolute() or "\x00" in parts.path:
        raise ImageRefused("a file:// URI names a local file by its absolute path")
    if not policy.roots:
        raise ImageRefused("file:// is not allowed: name folders in FRESHLENS_FETCH_ROOTS")
    return FilePlace(path)


def _web_place(uri: str, host: str, policy: FetchPolicy) -> WebPlace:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return WebPlace(uri, host)  # a name: its addresses are checked when it is resolved
    check_address(host, policy)
    return WebPlace(uri, host)


def _embedded(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address within an IPv6 one that leads to it (mapped, 6to4, NAT64), else the address itself."""
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
