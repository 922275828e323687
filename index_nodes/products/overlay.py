"""The overlay: the state of every product that changed since the generation, without a copy per change.

An *entry* is one state of one product. Entries are only appended; a view is a captured number of entries. An entry is
current in a view iff no later entry of the same slot lies below that number, so each entry remembers which one came
after it, and readers who captured less ignore that.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from index_nodes.products.bitmaps import evaluate
from index_nodes.products.columns import Column, GrowingColumn, KindsOfTenants, field_values, mask
from index_nodes.products.hits import hit_of
from index_nodes.products.keys import SlotKeys
from index_nodes.products.product import GROUP_BYTES, ProductState, decode_state, group_id
from index_nodes.products.remembering import remembering
from index_nodes.rows.arrays import GrowingArray, GrowingBlobs, Mask, Rows
from schemas.fields import Kind, kind_of
from schemas.filters import Filter, Leaf
from schemas.identity import ProductKey
from schemas.shard import ShardHit

_NONE = -1
_HITS_MAX = 4_096
"""Under a kilobyte each."""
_NEVER = np.iinfo(np.int32).max
RowIds = tuple[int, ...]
"""The rows of a product's views, in the order of its views: main rows, and behind them delta rows."""


class Overlay:
    """Append-only, with one writer.

    Args:
        main_visible: (n,) bool, the slots of the generation below whose product is visible.
        main_kinds: the kinds of values that the generation has of each field.
    """

    def __init__(self, main_visible: Mask, main_kinds: KindsOfTenants) -> None:
        self._main_visible, self._main_kinds = main_visible, main_kinds
        self.kinds = {tenant: dict(kinds) for tenant, kinds in main_kinds.items()}
        self._states = GrowingBlobs()
        self.hit = remembering(self._hit, _HITS_MAX)
        self.rows: list[RowIds] = []
        self._newest = np.full(max(1, len(main_visible)), _NONE, np.int32)  # slot → its newest entry
        self.slots = GrowingArray(np.int32)
        self._before = GrowingArray(np.int32)
        self.after = GrowingArray(np.int32)
        self.tenants = GrowingArray(np.int32)
        self.visible = GrowingArray(np.bool_)
        self.content_versions = GrowingArray(np.int64)
        self.groups = GrowingArray(np.dtype((np.void, GROUP_BYTES)))
        self.tenant_codes: dict[str, int] = {}
        self._columns: dict[tuple[str, str, Kind], GrowingColumn] = {}
        self.touched = 0
        self._shown = _Shown()
        self._shown_of: dict[str, _Shown] = {}

    def __len__(self) -> int:
        return len(self._states)

    @property
    def main_slots(self) -> int:
        """Slots of the generation below."""
        return len(self._main_visible)

    def append(self, slot: int, key: ProductKey, state: ProductState, rows: RowIds) -> None:
        """The product at ``slot`` has a new state."""
        entry, before = len(self), self.newest(slot)
        self._states.append(state.to_bytes())
        self.rows.append(rows)
        self.slots.append(slot)
        self._before.append(before)
        self.after.append(_NEVER)
        self.tenants.append(self.tenant_codes.setdefault(key.tenant, len(self.tenant_codes)))
        self.visible.append(state.is_visible)
        self.content_versions.append(state.content_version)
        self.groups.append(group_id(key.to_bytes(), state))
        if state.is_visible:
            self._index(entry, key, state)
        self._count(slot, key.tenant, entry, state.is_visible, before)
        self._make_newest(slot, entry, before)

    def state(self, entry: int) -> ProductState:
        """The product as of an entry."""
        return decode_state(self._states[entry])

    def _hit(self, entry: int, raw_key: bytes) -> ShardHit:
        """The visible product of an entry and its key, see :func:`hits.hit_of`."""
        return hit_of(raw_key, self.state(entry))

    def raw_state(self, entry: int) -> memoryview:
        """The same as MessagePack."""
        return self._states[entry]

    def newest(self, slot: int) -> int:
        """The newest entry of a slot, -1 if it has none."""
        return int(self._newest[slot]) if slot < len(self._newest) else _NONE

    def before(self, entry: int) -> int:
        """The entry that this one superseded, -1 if it is the slot's first."""
        return int(self._before[entry])

    def newest_of(self, slots: npt.NDArray[np.integer]) -> Rows:
        """(m,) int32: as :meth:`newest`, of slots that are known; a new array."""
        newest: Rows = self._newest[slots]
        return newest

    def before_of(self, entries: Rows) -> Rows:
        """(m,) int32: as :meth:`before`."""
        return self._before.captured()[entries]

    def column(self, tenant: str, name: str, count: int, kind: Kind) -> Column | None:
        """The field's values of one kind in the first ``count`` entries; None where it has none."""
        column = self._columns.get((tenant, name, kind))
        return None if column is None else column.captured(count)

    def captured(self) -> "OverlayView":
        return OverlayView(self, len(self))

    def rewritten(self, keys: SlotKeys) -> "Overlay":
        """The same with current entries only; views keep the old one."""
        fresh = Overlay(self._main_visible, self._main_kinds)
        fresh.kinds = self.kinds  # a field once known stays
        for entry in np.flatnonzero(self.captured().current).tolist():
            slot = int(self.slots[entry])
            fresh.append(slot, keys.key(slot), self.state(entry), self.rows[entry])
        return fresh

    def shown(self, tenant: str | None, count: int) -> "Counts":
        """Of a tenant's products, or everyone's, as of the first ``count`` entries."""
        shown = self._shown if tenant is None else self._shown_of.get(tenant)
        return NO_COUNTS if shown is None else shown.at(count)

    def _count(self, slot: int, tenant: str, entry: int, is_visible: bool, before: int) -> None:
        was_visible = before != _NONE and bool(self.visible[before])
        was_below = before == _NONE and slot < self.main_slots and bool(self._main_visible[slot])
        shown = self._shown_of.get(tenant) or self._shown_of.setdefault(tenant, _Shown())
        for each in (self._shown, shown):
            each.append(entry, is_visible - was_visible, is_visible - was_visible - was_below)

    def _make_newest(self, slot: int, entry: int, before: int) -> None:
        if slot >= len(self._newest):
            room = np.full(max(slot + 1 - len(self._newest), len(self._newest)), _NONE, np.int32)
            self._newest = np.concatenate([self._newest, room])
        if before == _NONE:
            self.touched += 1
        else:
            # In place: whoever captured fewer entries reads a number beyond its own, and takes the entry as current.
            self.after.replace(before, entry)
        self._newest[slot] = entry

    def _index(self, entry: int, key: ProductKey, state: ProductState) -> None:
        kinds = self.kinds.setdefault(key.tenant, {})
        for name, value in field_values(key.product_id, state):
            kind = kind_of(value)
            column = self._columns.get((key.tenant, name, kind))
            if column is None:
                column = self._columns[key.tenant, name, kind] = GrowingColumn(kind)
                kinds[name] = kinds.get(name, frozenset()) | {kind}
            column.append(entry, value)


class Counts(NamedTuple):
    """Products whose current entry is ``visible``; and those ``gained`` over the generation below, or lost."""

    visible: int
    gained: int


NO_COUNTS = Counts(0, 0)


class _Shown:
    """The counts after each of some entries, so that those of any view can be told without looking at all."""

    def __init__(self) -> None:
        self._entries, self._visible, self._gained = (GrowingArray(np.int32, 64) for _ in range(3))
        self._now = NO_COUNTS

    def append(self, entry: int, visible: int, gained: int) -> None:
        """Entry numbers ascend; how the counts change with this one."""
        self._now = Counts(self._now.visible + visible, self._now.gained + gained)
        self._visible.append(self._now.visible)
        self._gained.append(self._now.gained)
        self._entries.append(entry)  # last: a reader takes as many counts as there are entries

    def at(self, count: int) -> Counts:
        """After the entries below ``count``."""
        last = int(np.searchsorted(self._entries.captured(), count)) - 1
        return NO_COUNTS if last < 0 else Counts(int(self._visible[last]), int(self._gained[last]))


@dataclass(frozen=True)
class OverlayView:
    """The first ``count`` entries of an overlay."""

    overlay: Overlay
    count: int

    def entry(self, slot: int) -> int:
        """The entry that is current here, -1 if the generation's state is."""
        entry = self.overlay.newest(slot)
        while entry >= self.count:
            entry = self.overlay.before(entry)
        return entry

    def entries(self, slots: npt.NDArray[np.integer]) -> Rows:
        """(m,) int32: as :meth:`entry`, of many slots at once."""
        entries = self.overlay.newest_of(slots)
        while (late := entries >= self.count).any():
            entries[late] = self.overlay.before_of(entries[late])
        return entries

    @cached_property
    def slots(self) -> Rows:
        """(count,) int32: the slot of each entry."""
        return self.overlay.slots.captured(self.count)

    @cached_property
    def current(self) -> Mask:
        """(count,) bool: the newest entry of each slot."""
        return self.overlay.after.captured(self.count) >= self.count

    @cached_property
    def below(self) -> Rows:
        """The generation's slots that have an entry here."""
        slots = self.slots[self.current]
        return slots[slots < self.overlay.main_slots]

    def passing(self, tenant: str, clause: Filter | None) -> Mask:
        """(count,) bool: current, visible, of the tenant, and passing the (checked) filter."""
        code = self.overlay.tenant_codes.get(tenant, _NONE)
        passing = self.current & self.overlay.visible.captured(self.count)
        passing &= self.overlay.tenants.captured(self.count) == code
        if clause is not None:
            passing &= evaluate(clause, lambda leaf: self._mask(tenant, leaf))
        return passing

    def shows(self, tenant: str, entries: Rows) -> Mask:
        """(m,) bool: which of these entries, current here, are visible and of the tenant."""
        is_own: Mask = self.overlay.tenants.captured()[entries] == self.overlay.tenant_codes.get(tenant, _NONE)
        return is_own & self.overlay.visible.captured()[entries]

    def shown(self, tenant: str | None) -> Counts:
        """Of a tenant's products, or everyone's."""
        return self.overlay.shown(tenant, self.count)

    def content_versions(self) -> npt.NDArray[np.int64]:
        """(count,) int64: -1 where an entry is not visible."""
        return self.overlay.content_versions.captured(self.count)

    def groups_of(self, entries: Rows) -> npt.NDArray[np.void]:
        """(m,) the duplicate group of each entry."""
        groups: npt.NDArray[np.void] = self.overlay.groups.captured()[entries]
        return groups

    def _mask(self, tenant: str, leaf: Leaf) -> Mask:
        return mask(leaf, partial(self.overlay.column, tenant, leaf.field, self.count), self.count)
