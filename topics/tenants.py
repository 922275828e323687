"""Tenants' declarations, kept in the object store beside what they govern."""

import threading
from collections.abc import Callable
from time import monotonic

import msgspec

from schemas.errors import SettingsError
from schemas.identity import check_tenant
from schemas.tenants import ATTRIBUTE_TYPES, TenantDeclaration
from topics.store import ObjectStore

REFRESH_S = 5.0


class TenantDirectory:
    """Reads declarations, each at most every five seconds; a tenant without one has the default.

    Safe to use from several threads.
    """

    def __init__(self, store: ObjectStore, now: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._now = now
        self._lock = threading.Lock()
        self._read: dict[str, tuple[float, TenantDeclaration]] = {}

    def declaration(self, tenant: str) -> TenantDeclaration:
        """What the tenant declared; raises InvalidProduct for a name that is none."""
        check_tenant(tenant)
        with self._lock:
            read_at, known = self._read.get(tenant, (float("-inf"), None))
            if known is None or self._now() - read_at >= REFRESH_S:
                known = self._load(tenant)
                self._read[tenant] = (self._now(), known)
            return known

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
            self._read.pop(declaration.tenant, None)

    def list(self) -> list[TenantDeclaration]:
        """Every declaration, by tenant."""
        names = [key.removeprefix("tenants/").removesuffix(".json") for key in self._store.list("tenants")]
        return [self._load(name) for name in names]

    def _load(self, tenant: str) -> TenantDeclaration:
        return self._declared(tenant) or TenantDeclaration(tenant)

    def _declared(self, tenant: str) -> TenantDeclaration | None:
        try:
            return msgspec.json.decode(self._store.get(_key(tenant)), type=TenantDeclaration)
        except FileNotFoundError:
            return None


def _key(tenant: str) -> str:
    return f"tenants/{tenant}.json"
