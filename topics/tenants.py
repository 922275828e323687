"""Tenants' declarations, kept in the object store beside what they govern."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from time import monotonic

import msgspec
import structlog

from schemas.errors import FreshlensError, InvalidProduct, SettingsError, StorageError, StoreUnavailable
from schemas.identity import check_tenant, key_from_bytes
from schemas.tenants import ATTRIBUTE_TYPES, TenantDeclaration
from topics.store import ObjectStore

REFRESH_S = 5.0
_PATIENCE_S, _FIRST_PATIENCE_S = 0.25, 10.0
"""How long the store is waited for where a declaration is known already, and where none is."""
_READERS = 4
_Outcome = TenantDeclaration | OSError | FreshlensError
log = structlog.get_logger()


class TenantDirectory:
    """Reads declarations, each at most every five seconds; a tenant without one has the default.

    What is known stays while the store does not answer: searches and deletions need nothing else of it. The kind of
    versions never changes. Safe to use from several threads.
    """

    def __init__(self, store: ObjectStore, now: Callable[[], float] = monotonic) -> None:
        self._store, self._now = store, now
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, TenantDeclaration]] = {}
        self._reading: dict[str, Future[_Outcome]] = {}
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="tenants")

    def declaration(self, tenant: str) -> TenantDeclaration:
        """What the tenant declared.

        Raises:
            InvalidProduct: the name is none.
            OSError, StoreUnavailable: the store does not answer, and never told.
            StorageError: what the store has is no declaration, and nothing else is known.
        """
        known, reading = self._asked(tenant)
        if reading is not None:
            wait((reading,), _patience_s(known))
            known = self._settled(tenant, known, reading)
        assert known is not None
        return known

    async def current(self, tenant: str) -> TenantDeclaration:
        """As :meth:`declaration`, and the event loop goes on."""
        known, reading = self._asked(tenant)
        if reading is not None:
            await asyncio.wait((asyncio.wrap_future(reading),), timeout=_patience_s(known))
            known = self._settled(tenant, known, reading)
        assert known is not None
        return known

    async def at_hand(self, raw_key: bytes | None) -> Callable[[str], TenantDeclaration]:
        """:meth:`declaration`, for who reads a record on an event loop: that of its key's tenant is looked up first.

        Raises:
            As :meth:`declaration`, but for a key that names no tenant: what the record is, its reader says.
        """
        try:
            tenant = key_from_bytes(raw_key or b"").tenant
        except InvalidProduct:
            return self.declaration
        await self.current(tenant)
        return self.declaration

    def is_declared(self, tenant: str) -> bool:
        """Whether anything was declared of the tenant; if not, its versions have been microseconds so far."""
        return self._declared(check_tenant(tenant)) is not None

    def declare(self, declaration: TenantDeclaration) -> None:
        """Write a declaration; workers follow within some seconds.

        Raises:
            SettingsError: an attribute type that does not exist, or a change of the kind of versions: the versions
                already in the log would be compared with versions of another kind.
        """
        check_tenant(declaration.tenant)
        unknown = sorted(set(declaration.attributes.values()) - set(ATTRIBUTE_TYPES))
        if unknown:
            raise SettingsError(f"attribute types {unknown} do not exist; there are {', '.join(ATTRIBUTE_TYPES)}")
        written = self._declared(declaration.tenant)
        if written is not None and written.versions is not declaration.versions:
            raise SettingsError(
                f"tenant {declaration.tenant} has {written.versions.value} versions; the kind cannot change, since "
                "old and new versions would be compared: use a new tenant"
            )
        self._store.put(_key(declaration.tenant), msgspec.json.format(msgspec.json.encode(declaration)))
        with self._lock:
            self._known.pop(declaration.tenant, None)

    def list(self) -> list[TenantDeclaration]:
        """Every declaration, by tenant."""
        names = [key.removeprefix("tenants/").removesuffix(".json") for key in self._store.list("tenants")]
        return [self._load(name) for name in names]

    def _asked(self, tenant: str) -> tuple[TenantDeclaration | None, Future[_Outcome] | None]:
        """What is known, and who is reading it anew; nobody where that is not due."""
        check_tenant(tenant)
        with self._lock:
            read_at, known = self._known.get(tenant, (float("-inf"), None))
            if self._now() - read_at < REFRESH_S:
                return known, None
            if tenant not in self._reading:
                self._reading[tenant] = self._readers.submit(self._read, tenant)
            return known, self._reading[tenant]

    def _read(self, tenant: str) -> _Outcome:
        try:
            found = self._load(tenant)
            self._remember(tenant, found)
            return found
        except (OSError, FreshlensError) as error:
            log.warning("a declaration is not read", tenant=tenant, error=str(error))
            return error  # as a value: who asked may have left, and nobody would take the exception
        finally:
            with self._lock:
                self._reading.pop(tenant, None)

    def _settled(self, tenant: str, known: TenantDeclaration | None, reading: Future[_Outcome]) -> TenantDeclaration:
        """What was read; where it could not be, what is known, and nobody waits again until that is due."""
        late = f"what tenant {tenant} declared was not read within {_FIRST_PATIENCE_S:g} s"
        outcome = reading.result() if reading.done() else StoreUnavailable(late)
        if isinstance(outcome, TenantDeclaration):
            return outcome
        if known is None:
            raise outcome
        self._remember(tenant, known)
        return known

    def _remember(self, tenant: str, declaration: TenantDeclaration) -> None:
        with self._lock:
            self._known[tenant] = (self._now(), declaration)

    def _load(self, tenant: str) -> TenantDeclaration:
        return self._declared(tenant) or TenantDeclaration(tenant)

    def _declared(self, tenant: str) -> TenantDeclaration | None:
        try:
            return msgspec.json.decode(self._store.get(_key(tenant)), type=TenantDeclaration)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StorageError(f"what tenant {tenant} declared cannot be read: {error}") from error


def _patience_s(known: TenantDeclaration | None) -> float:
    return _FIRST_PATIENCE_S if known is None else _PATIENCE_S


def _key(tenant: str) -> str:
    return f"tenants/{tenant}.json"
