"""Business rules at rest: every version of a tenant's rules is an object of its own, and none is ever changed."""

import re
from collections.abc import Mapping

import msgspec
import structlog

from query_api.ranking.rules import Rule, RuleSet, check_rules
from schemas.errors import InvalidQuery, NotFound, RulesChanged, StorageError
from schemas.identity import check_tenant
from topics.store import ObjectStore

log = structlog.get_logger()

FOLDER = "rules"
_KEY = re.compile(rf"{FOLDER}/([a-z0-9][a-z0-9-]*)/(\d{{8}})\.json")


class RuleStore:
    """``rules/TENANT/VERSION.json``, created if absent: of two who write at once one is told that the other did.

    Calls may raise OSError and StoreUnavailable.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def versions(self) -> dict[str, list[int]]:
        """Every tenant's versions, the oldest first."""
        found: dict[str, list[int]] = {}
        for key in self._store.list(FOLDER):
            if named := _KEY.fullmatch(key):
                found.setdefault(named[1], []).append(int(named[2]))
        return {tenant: sorted(versions) for tenant, versions in found.items()}

    def newest(self, tenant: str) -> RuleSet:
        """The rules that count; version 0 without any, where there are none. Raises as :meth:`read`."""
        versions = self.versions().get(check_tenant(tenant))
        return self.read(tenant, versions[-1]) if versions else RuleSet(tenant=tenant)

    def read(self, tenant: str, version: int) -> RuleSet:
        """One version.

        Raises:
            NotFound: there is none of that number. StorageError: it is not what we wrote; set the rules again.
        """
        try:
            found = msgspec.json.decode(self._store.get(_key(tenant, version)), type=RuleSet)
            check_rules(found.rules)
        except FileNotFoundError:
            raise NotFound(f"tenant {tenant} has no rules of version {version}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, InvalidQuery) as error:
            raise StorageError(f"rules {version} of tenant {tenant} cannot be read: {error}") from error
        if (found.tenant, found.version) != (tenant, version):
            raise StorageError(f"rules {version} of tenant {tenant} call themselves {found.tenant} {found.version}")
        return found

    def write(
        self,
        tenant: str,
        rules: tuple[Rule, ...],
        *,
        after: int,
        set_at_us: int,
        set_by: str = "",
        restores: int | None = None,
    ) -> RuleSet:
        """The next version.

        Args:
            after: the version that the writer has seen, 0 for none.

        Raises:
            RulesChanged: there is a newer one; look at it, and decide again.
        """
        newest = max(self.versions().get(check_tenant(tenant), [0]))
        made = RuleSet(
            tenant=tenant, version=after + 1, rules=rules, set_at_us=set_at_us, set_by=set_by, restores=restores
        )
        body = msgspec.json.format(msgspec.json.encode(made))
        if newest != after or not self._store.put_if_absent(_key(tenant, after + 1), body):
            raise RulesChanged(
                f"the rules of tenant {tenant} are at version {max(newest, after + 1)}, not {after}: "
                "see `freshlens rules show`, and set them again"
            )
        return made


class RuleBook:
    """The rules that an API process knows, read again every few seconds. Without a store there are none."""

    def __init__(self, store: RuleStore | None = None) -> None:
        self._store = store
        self._known: Mapping[str, RuleSet] = {}

    def of(self, tenant: str) -> RuleSet:
        """The tenant's rules as last read."""
        return self._known.get(tenant) or RuleSet(tenant=tenant)

    def refresh(self) -> None:
        """Read what is newer; blocks. A version that cannot be read leaves the one before in force.

        Raises:
            OSError, TransientError: the store does not answer; what was known stays.
        """
        if self._store is None:
            return
        newest = {tenant: versions[-1] for tenant, versions in self._store.versions().items()}
        known = {tenant: rules for tenant, rules in self._known.items() if tenant in newest}
        for tenant, version in newest.items():
            if self.of(tenant).version == version:
                continue
            try:
                known[tenant] = self._store.read(tenant, version)
                log.info("rules read", tenant=tenant, version=version, rules=len(known[tenant].rules))
            except (StorageError, NotFound) as error:
                log.error("rules ignored", tenant=tenant, version=version, code=error.code, error=error.message)
        self._known = known


def _key(tenant: str, version: int) -> str:
    return f"{FOLDER}/{check_tenant(tenant)}/{version:08}.json"
