"""What a catalogue says: every kind of record, meeting its own past again and again."""

from dataclasses import dataclass, field
from random import Random

from msgspec.structs import replace

from schemas.clock import ManualClock
from schemas.events import Attributes, Source
from schemas.index_log import IndexLogRecord
from tests.unit.index_nodes import records
from topics.declarations import DAY_MS, LATENESS_MS, TOMBSTONE_MS

TENANTS = ("a", "b")
PICTURES = tuple(records.picture(seed) for seed in range(6))
DUP_GROUPS = tuple(bytes([number] * 8) for number in range(3))
REDELIVERED_AGE_MS_MAX = TOMBSTONE_MS - LATENESS_MS - 2 * DAY_MS
"""No record is delivered again when it is older: retention, dead letters, what tombstones wait for (HOLES 11)."""
_COLOURS = ("red", "blue", "green")
_VIEWS = ((0,), (1,), (2, 3), (0, 1, 2), (3, 3), (5, 4, 0), (), (4,))


@dataclass
class _Said:
    """What was said of one product: the greatest version, the last pictures, and the greatest deletion's first time."""

    version: int = 0
    views: tuple[int, ...] = (0,)
    before: tuple[int, ...] = (1,)
    deleted_version: int = 0
    deleted_at_ms: int = 0


@dataclass
class Catalogue:
    """Makes records; shared by all producers, so that they contradict each other."""

    random: Random
    clock: ManualClock
    products: int = 5
    said: dict[tuple[str, str], _Said] = field(default_factory=dict)
    published: list[IndexLogRecord] = field(default_factory=list)
    """Everything, in the order of its making, which is not that of the log."""

    def next_records(self) -> list[IndexLogRecord]:
        """One or a few records that belong together."""
        tenant = self.random.choice(TENANTS[:1] * 3 + TENANTS[1:])
        product_id = f"p{self.random.randrange(self.products)}"
        said = self.said.setdefault((tenant, product_id), _Said())
        kinds = {
            self._full: 8,
            self._offer: 5,
            self._delete: 3,
            self._there_and_back: 2,
            self._deleted_and_added: 2,
            self._older: 2 if self._may_be_late(said) else 0,
        }
        (make,) = self.random.choices(list(kinds), list(kinds.values()))
        made = [self._sourced(record) for record in make(tenant, product_id, said)]
        self.published += made
        return made

    def _full(self, tenant: str, product_id: str, said: _Said) -> list[IndexLogRecord]:
        return [self._content(tenant, product_id, said, self._version(said), self.random.choice(_VIEWS))]

    def _offer(self, tenant: str, product_id: str, said: _Said) -> list[IndexLogRecord]:
        price, stock = self.random.choice([None, 1.0, 2.0, 3.5]), self.random.choice([None, 0, 1])
        sale: Attributes = {"sale": True} if self.random.random() < 0.3 else {}
        version = self._version(said)
        return [records.offer(product_id, version, price, tenant=tenant, stock=stock, attributes=sale)]

    def _delete(self, tenant: str, product_id: str, said: _Said) -> list[IndexLogRecord]:
        version = self._version(said)
        if version > said.deleted_version:
            said.deleted_version, said.deleted_at_ms = version, self.clock.now_us() // 1000
        return [records.delete(product_id, version, tenant=tenant)]

    def _there_and_back(self, tenant: str, product_id: str, said: _Said) -> list[IndexLogRecord]:
        """Pictures A, B and A again."""
        views = [said.before, said.views, said.before]
        return [self._content(tenant, product_id, said, self._newer(said), pictures) for pictures in views]

    def _deleted_and_added(self, tenant: str, product_id: str, said: _Said) -> list[IndexLogRecord]:
        """Deleted, and added again with the pictures it had."""
        deleted = self._delete(tenant, product_id, said)
        return [*deleted, self._content(tenant, product_id, said, self._newer(said), said.views)]

    def _older(self, tenant: str, product_id: str, said: _Said) -> list[IndexLogRecord]:
        """What somebody should have sent long ago."""
        version = self.random.randint(1, max(1, said.version - 1))
        return [self._content(tenant, product_id, said, version, self.random.choice(_VIEWS))]

    def _may_be_late(self, said: _Said) -> bool:
        """Whether a record may still come that lost to a deletion: the tombstone is there for as long."""
        return not said.deleted_version or self.clock.now_us() // 1000 - said.deleted_at_ms < LATENESS_MS

    def _content(
        self, tenant: str, product_id: str, said: _Said, version: int, views: tuple[int, ...]
    ) -> IndexLogRecord:
        said.before, said.views, said.version = said.views, views, max(said.version, version)
        attributes: Attributes = {}
        if self.random.random() < 0.6:
            attributes["colour"] = self.random.choice(_COLOURS)
        if self.random.random() < 0.3:
            attributes["tags"] = tuple(self.random.sample(_COLOURS, 2))
        record = records.content(
            product_id,
            version,
            [PICTURES[number] for number in views],
            tenant=tenant,
            title=self.random.choice([None, *_COLOURS]),
            attributes=attributes,
            dup_group=DUP_GROUPS[views[0] % len(DUP_GROUPS)] if views else b"",
        )
        if self.random.random() < 0.2:
            offer = records.offer(product_id, version, self.random.choice([1.0, 9.0]), tenant=tenant).offer
            record = replace(record, offer=offer)
        return record

    def _version(self, said: _Said) -> int:
        """Mostly a newer one; now and then the newest once more, for two who say different things at once."""
        is_equal = said.version and self._may_be_late(said) and self.random.random() < 0.15
        return said.version if is_equal else self._newer(said)

    def _newer(self, said: _Said) -> int:
        said.version += self.random.randint(1, 2)
        return said.version

    def _sourced(self, record: IndexLogRecord) -> IndexLogRecord:
        return replace(record, source=Source("product-added", 0, 0, self.clock.now_us() // 1000))
