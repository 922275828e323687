"""Pictures that nobody may show or look for: perceptual hashes in the object store, per tenant or for all."""

import asyncio
import io
import re
from collections import defaultdict
from collections.abc import Callable
from time import monotonic

import msgspec
import numpy as np
import numpy.typing as npt
import structlog
from PIL import Image

from processors.encoders.encoder import PictureForm
from processors.pictures.decode import PHASH_BYTES, decode, perceptual_hash
from schemas.errors import InvalidRecord, StoreUnavailable, TransientError
from schemas.identity import check_tenant
from topics.store import ObjectStore

EVERY_TENANT = "*"
REFRESH_S = 5.0
_PATIENCE_S, _FIRST_PATIENCE_S = 0.25, 10.0
"""How long the store is waited for where the list was read before, and where it was not."""
_FOLDER = "blocklist"
_ID = re.compile(rf"[0-9a-f]{{{2 * PHASH_BYTES}}}")
_SIDE = 256
log = structlog.get_logger()


class BlockEntry(msgspec.Struct, frozen=True):
    """One picture: ``hashes`` in hexadecimal, of itself and of itself turned and mirrored; the first is the ``id``.

    ``tenant``: whose products and queries it is kept from, or EVERY_TENANT.
    """

    id: str
    tenant: str
    hashes: tuple[str, ...]
    added_at_us: int
    added_by: str
    note: str = ""


def hashes_of(raw: bytes) -> tuple[str, ...]:
    """The perceptual hashes of a picture in all eight positions.

    Raises:
        InvalidRecord: it is no picture, or it is blank: its hash would be that of every blank picture.
    """
    decoded = decode(raw, PictureForm(32), thumbnail_sizes=(_SIDE,))
    if "blank" in decoded.quality.flags:
        raise InvalidRecord("the picture is blank: every blank picture has its hash")
    image = Image.open(io.BytesIO(decoded.thumbnails[_SIDE])).convert("L")
    turned = [perceptual_hash(np.asarray(image.transpose(turn))) for turn in Image.Transpose]
    return tuple(dict.fromkeys(phash.hex() for phash in (decoded.phash, *turned)))


class BlockListStore:
    """The entries in the object store, one object each; an entry never changes."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def add(self, entry: BlockEntry) -> bool:
        """Write an entry; False if the tenant has one for this picture already. Processes follow within seconds."""
        return self._store.put_if_absent(_key(entry.tenant, entry.id), msgspec.json.encode(entry))

    def remove(self, tenant: str, entry_id: str) -> bool:
        """Remove an entry; False if there is none."""
        key = _key(tenant, entry_id)
        existed = self._store.exists(key)
        self._store.delete(key)
        return existed

    def keys(self) -> set[str]:
        """The keys of all entries; read them with :meth:`read`."""
        return set(self._store.list(_FOLDER))

    def read(self, key: str) -> BlockEntry | None:
        """The entry, or None if it is gone or cannot be read, which is logged."""
        try:
            entry = msgspec.json.decode(self._store.get(key), type=BlockEntry)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            log.error("block list entry ignored", key=key, error=str(error))
            return None
        if not entry.hashes or not all(map(is_hash, entry.hashes)):
            log.error("block list entry ignored", key=key, error="no hashes")
            return None
        return entry

    def entries(self) -> list[BlockEntry]:
        """All that can be read, oldest first."""
        found = [entry for key in self.keys() if (entry := self.read(key)) is not None]
        return sorted(found, key=lambda entry: (entry.added_at_us, entry.id))


class BlockList:
    """The block list as a process knows it, of one event loop: read again every few seconds, asked per picture."""

    def __init__(
        self, store: ObjectStore, *, bits: int, every_s: float = REFRESH_S, now: Callable[[], float] = monotonic
    ) -> None:
        self._store, self._bits, self._every_s, self._now = BlockListStore(store), bits, every_s, now
        self._known: dict[str, BlockEntry] = {}
        self._by_tenant: dict[str, _Hashes] = {}
        self._due = float("-inf")
        self._refreshing: asyncio.Future[Exception | None] | None = None

    async def refresh_if_due(self) -> None:
        """Read what changed, if it is time; later on what was known stays, and a store that hangs is not waited for.

        Raises:
            OSError, TransientError: the store does not answer and never did: nobody passes before it was read once.
        """
        if self._now() < self._due:
            return
        is_first = self._due == float("-inf")
        if not is_first:
            self._due = self._now() + self._every_s  # one waits, and no others
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.ensure_future(asyncio.to_thread(self._refreshed))
        refreshing = self._refreshing
        await asyncio.wait((refreshing,), timeout=_FIRST_PATIENCE_S if is_first else _PATIENCE_S)
        failure = refreshing.result() if refreshing.done() else StoreUnavailable("the store takes its time")
        if failure is None:
            self._due = self._now() + self._every_s
        elif is_first:
            raise failure
        else:
            log.warning("block list not read", error=str(failure))

    def _refreshed(self) -> Exception | None:
        try:
            self.refresh()
        except (OSError, TransientError) as error:
            return error
        return None

    def refresh(self) -> None:
        """Read what changed; blocks."""
        keys = self._store.keys()
        if keys == self._known.keys():
            return
        known = {key: entry for key, entry in self._known.items() if key in keys}
        for key in keys - known.keys():
            if (entry := self._store.read(key)) is not None:
                known[key] = entry
        by_tenant: defaultdict[str, list[BlockEntry]] = defaultdict(list)
        for entry in known.values():
            by_tenant[entry.tenant].append(entry)
        self._by_tenant = {tenant: _Hashes(entries) for tenant, entries in by_tenant.items()}
        self._known = known

    def is_empty(self, tenant: str) -> bool:
        """Whether nothing of this tenant's can match."""
        return tenant not in self._by_tenant and EVERY_TENANT not in self._by_tenant

    def match(self, tenant: str, phash: bytes) -> BlockEntry | None:
        """The entry that a picture of this tenant looks like, if any."""
        for name in (tenant, EVERY_TENANT):
            hashes = self._by_tenant.get(name)
            if hashes is not None and (entry := hashes.match(phash, self._bits)) is not None:
                return entry
        return None


class _Hashes:
    """The hashes of one tenant as numbers: a thousand are compared in some microseconds."""

    def __init__(self, entries: list[BlockEntry]) -> None:
        pairs = [(int(phash, 16), entry) for entry in entries for phash in entry.hashes]
        self._hashes: npt.NDArray[np.uint64] = np.array([phash for phash, _ in pairs], np.uint64)
        self._entries = [entry for _, entry in pairs]

    def match(self, phash: bytes, bits: int) -> BlockEntry | None:
        apart = np.bitwise_count(self._hashes ^ np.uint64(int.from_bytes(phash, "big")))
        nearest = int(apart.argmin())
        return self._entries[nearest] if apart[nearest] <= bits else None


def is_hash(text: str) -> bool:
    """Whether this is a perceptual hash in hexadecimal, and so the id of an entry."""
    return bool(_ID.fullmatch(text))


def _key(tenant: str, entry_id: str) -> str:
    assert is_hash(entry_id), entry_id
    return f"{_FOLDER}/{'_all' if tenant == EVERY_TENANT else check_tenant(tenant)}/{entry_id}"
