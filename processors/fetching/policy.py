"""Where pictures may be read from: schemes, folders, buckets and addresses. Pure; ``streams.fetching`` acts on it."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias
from urllib.parse import SplitResult, unquote_to_bytes, urljoin, urlsplit

import msgspec
from yarl import URL

from processors.fetching.addresses import Network, address_of, reach
from schemas.errors import ImageRefused, ImageSourceUnavailable, ImageTooLarge

_STORED = re.compile(r"store://originals/([0-9a-f]{32})")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """What is allowed, and how much.

    Attributes:
        roots: folders below which ``file://`` is read; none: not at all.
        private_allowed: whether ``http(s)://`` may reach private and loopback addresses; not link-local ones, where
            metadata services lie.
        networks: addresses that may be reached whatever they are.
        hosts: names whose addresses are not checked, in lower case.
        buckets: those that ``s3://`` is read from; none: not at all.
        s3_endpoint: another server than that of AWS; trusted, so its address is not checked.
        image_bytes_max: of a picture or a video; more is refused while it arrives.
        redirects_max: each one is checked like the first address.
        per_host_max: fetches from one host at a time.
    """

    roots: tuple[Path, ...] = ()
    private_allowed: bool = False
    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    buckets: frozenset[str] = frozenset()
    s3_endpoint: str | None = None
    image_bytes_max: int = 16 * 1024 * 1024
    redirects_max: int = 3
    per_host_max: int = 16


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A local file; its real path must pass :func:`check_below_roots`."""

    path: Path


@dataclass(frozen=True, slots=True)
class StoredPlace:
    """An original in our own store, by the hexadecimal hash of its bytes."""

    content_hash: str


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """An object in an allowed bucket of S3."""

    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class WebPlace:
    """A web address. Unless the host ``is_trusted``, each address it leads to must pass :func:`check_address`."""

    url: URL
    is_trusted: bool = False

    @property
    def host(self) -> str:
        """Exactly the host that will be connected to."""
        return self.url.raw_host or ""

    @property
    def origin(self) -> str:
        """Scheme, host and port: what is slow or down as one."""
        return f"{self.url.scheme}://{self.host.lower()}:{self.url.port}"


Place: TypeAlias = FilePlace | StoredPlace | ObjectPlace | WebPlace


class Validators(msgspec.Struct, frozen=True):
    """How to ask whether a picture changed, and the hash of its bytes when it was fetched.

    ``place`` is a hash of the web address that answered: an ETag means nothing elsewhere.
    """

    content_hash: bytes
    etag: str | None = None
    last_modified: str | None = None
    place: bytes = b""


class Fetched(msgspec.Struct, frozen=True):
    """What was fetched; ``raw`` None: it is what the validators given to ``fetch`` are of."""

    raw: bytes | None
    validators: Validators


HasRoom: TypeAlias = Callable[[int], bool]
"""Asked for room for so many bytes of a picture in all; it is taken where it is there."""


class NoRoom(ImageSourceUnavailable):
    """The picture is there, and there is no room for it; with room for ``size`` bytes there will be."""

    def __init__(self, size: int) -> None:
        super().__init__(f"no room for a picture of {size} bytes", why="no-room")
        self.size = size


def always(_: int) -> bool:
    """There is room."""
    return True


class PictureSource(Protocol):
    """Fetches the bytes of a picture, or of a video."""

    async def fetch(
        self, uri: str, *, timeout_s: float, known: Validators | None = None, has_room: HasRoom = always
    ) -> Fetched:
        """The bytes behind a URI, unless they are the ones that are known.

        Args:
            timeout_s: over everything: names, connections, redirects, body, and trying again.
            known: of an earlier fetch of this URI. Give it only if its picture is at hand.
            has_room: asked while the bytes arrive.

        Raises:
            ImageRefused: a place we do not read from. Dead-letter.
            ImageTooLarge: more bytes than allowed. Dead-letter.
            NoRoom: it is there. Ask again with room for it.
            ImageSourceUnavailable: not there (yet), or not in time. Try again, not before ``retry_after_s``.
        """
        ...


def place_of(uri: str, policy: FetchPolicy) -> Place:
    """What a URI points at; raises ImageRefused for what we never read."""
    if stored := _STORED.fullmatch(uri):
        return StoredPlace(stored[1])
    if uri.startswith("s3://"):
        return _object_place(uri, policy)
    try:
        parts = urlsplit(uri)
        if parts.scheme == "file":
            return _file_place(parts, policy)
        if parts.scheme in ("http", "https"):
            return _web_place(uri, policy)
    except ValueError:
        raise ImageRefused(f"{uri[:200]!r} is not a URI") from None
    raise ImageRefused(f"{uri[:200]!r}: pictures are read from https://, http://, s3://, file://, store://originals/")


def redirected(place: WebPlace, location: str, policy: FetchPolicy) -> WebPlace:
    """Where an answer redirects to, checked like any other place; raises ImageRefused."""
    try:
        following = place_of(urljoin(str(place.url), location), policy)
    except ValueError:
        raise ImageRefused(f"{place.host} redirects to {location[:200]!r}, which is not a URI") from None
    if not isinstance(following, WebPlace):
        raise ImageRefused(f"{place.host} redirects away from the web")
    if place.url.scheme == "https" and following.url.scheme == "http":
        # Whoever sits on the second way could then put any picture in its place.
        raise ImageRefused(f"{place.host} redirects from https:// to http://")
    return following


def check_below_roots(real_path: Path, policy: FetchPolicy) -> Path:
    """The allowed folder below which a path lies, every link in it being resolved; raises ImageRefused."""
    for root in policy.roots:
        if real_path.is_relative_to(root):
            return root
    raise ImageRefused(f"{str(real_path)!r} is not below an allowed folder: name it in FRESHLENS_FETCH_ROOTS")


def check_address(address: str, policy: FetchPolicy) -> None:
    """Do nothing if this IP address may be connected to; raises ImageRefused."""
    try:
        found = address_of(address)
    except ValueError:
        raise ImageRefused(f"{address[:200]!r} is not an address") from None
    if any(found in network for network in policy.networks):
        return
    how = reach(found)
    if how == "public" or (how == "private" and policy.private_allowed):
        return
    way_out = "list it in FRESHLENS_FETCH_ALLOW"
    if how == "private":
        way_out += ", or allow all such with FRESHLENS_FETCH_PRIVATE=1, where you trust every producer"
    raise ImageRefused(f"{address} is a {how} address: {way_out}")


def check_size(count: int, policy: FetchPolicy) -> None:
    """Do nothing if a picture may have so many bytes; raises ImageTooLarge."""
    if count > policy.image_bytes_max:
        raise ImageTooLarge(f"the picture has more than {policy.image_bytes_max} bytes")


def _file_place(parts: SplitResult, policy: FetchPolicy) -> FilePlace:
    path = Path(os.fsdecode(unquote_to_bytes(parts.path)))
    if parts.netloc not in ("", "localhost") or not path.is_absolute() or "\x00" in str(path):
        raise ImageRefused("a file:// URI names a local file by its absolute path")
    if not policy.roots:
        raise ImageRefused("file:// is not allowed: name folders in FRESHLENS_FETCH_ROOTS")
    return FilePlace(path)


def _object_place(uri: str, policy: FetchPolicy) -> ObjectPlace:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not _BUCKET.fullmatch(bucket) or bucket not in policy.buckets:
        raise ImageRefused(f"{bucket[:80]!r} is not an allowed bucket: name it in FRESHLENS_FETCH_BUCKETS")
    # A server may resolve dots in a path, and so leave the bucket.
    if not key or len(key.encode(errors="replace")) > 1024 or {".", ".."} & set(key.split("/")):
        raise ImageRefused("s3://bucket/key: the key has 1 to 1,024 bytes and no segment . or ..")
    if not key.isprintable():
        raise ImageRefused("s3://bucket/key: the key has control characters")
    return ObjectPlace(bucket, key)


def _web_place(uri: str, policy: FetchPolicy) -> WebPlace:
    url = _url(uri)
    host = url.raw_host or ""
    if url.raw_user is not None or url.raw_password is not None:
        raise ImageRefused("a web address with a user name or password: they would end up in logs")
    if ":" not in host and not _HOST_NAME.fullmatch(host):
        raise ImageRefused(f"{host[:200]!r} is not a host")
    if host.lower().rstrip(".") in policy.hosts:
        return WebPlace(url, is_trusted=True)
    # A host whose last part is a number is an address, in whatever form some resolver may understand.
    if "%" in host:
        raise ImageRefused(f"{host[:200]!r} names a network interface")
    if ":" in host or _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        check_address(host, policy)
    return WebPlace(url)  # the addresses of a name are checked when it is resolved


def _url(uri: str) -> URL:
    """Parsed once, by what connects: two parsers may see two hosts. Raises ValueError, ImageRefused."""
    if not uri.isprintable():
        raise ImageRefused(f"{uri[:200]!r} has control characters")
    # Quoting again what is quoted would break signed addresses.
    return URL(uri, encoded=uri.isascii() and " " not in uri)
