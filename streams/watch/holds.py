"""Sources that are held: their events become dead letters with their version resolved, and are let through later."""

import asyncio
from hashlib import blake2b

import msgspec
import structlog

from processors.watch.sources import source_of
from schemas.errors import SourceHeld, TransientError
from schemas.events import ProductAdded
from topics.store import ObjectStore

LOOK_EVERY_S = 2.0
_FOLDER = "watch/holds"
_log = structlog.get_logger()


class Hold(msgspec.Struct, frozen=True):
    """One source that is or was held; times in microseconds since 1970.

    ``released_until`` set: let through, and until then not held again by the watch.
    """

    source: str
    reason: str
    since: int
    released_until: int | None = None

    @property
    def is_on(self) -> bool:
        return self.released_until is None


class Holds:
    """The holds in the object store, one object each, so that nobody overwrites another's. Calls block."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def all(self) -> dict[str, Hold]:
        """Every hold by its source. Raises OSError, StoreUnavailable."""
        found = (self._read(key) for key in self._store.list(_FOLDER))
        return {hold.source: hold for hold in found if hold is not None}

    def of(self, source: str) -> Hold | None:
        """The hold of one source, on or released."""
        return self._read(_key(source))

    def hold(self, source: str, reason: str, now_us: int) -> Hold:
        """Hold a source from now on; one that is held already stays as it is."""
        known = self.of(source)
        if known is not None and known.is_on:
            return known
        hold = Hold(source, reason, now_us)
        self._store.put(_key(source), msgspec.json.encode(hold))
        return hold

    def release(self, hold: Hold, until_us: int) -> None:
        """Let a source through; until then the watch does not hold it again."""
        released = msgspec.structs.replace(hold, released_until=until_us)
        self._store.put(_key(hold.source), msgspec.json.encode(released))

    def _read(self, key: str) -> Hold | None:
        try:
            return msgspec.json.decode(self._store.get(key), type=Hold)
        except FileNotFoundError:
            return None


class HeldSources:
    """The sources that a worker must hold, followed every two seconds. Use it from one event loop."""

    def __init__(self, store: ObjectStore) -> None:
        """Read them once, before the first event. Raises OSError, StoreUnavailable: start again."""
        self._holds = Holds(store)
        self._held = self._now()

    def check(self, event: ProductAdded) -> None:
        """Do nothing if the event's source is not held; raises SourceHeld."""
        if not self._held:
            return
        source = source_of(event.tenant, event.content, event.offer)
        if source in self._held:
            raise SourceHeld(f"source {source} is held: {self._held[source]}")

    async def follow(self) -> None:
        """Follow what is held until cancelled; while the store is away, what was held stays so."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                self._held = await asyncio.to_thread(self._now)
            except (OSError, TransientError, msgspec.DecodeError) as error:
                _log.warning("what is held cannot be read", reason=str(error))

    def _now(self) -> dict[str, str]:
        return {source: hold.reason for source, hold in self._holds.all().items() if hold.is_on}


def _key(source: str) -> str:
    return f"{_FOLDER}/{blake2b(source.encode(), digest_size=16).hexdigest()}.json"
