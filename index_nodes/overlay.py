"""The overlay: the state of every product that changed since the generation, without a copy per change.

An *entry* is one state of one product. Entries are only appended; a view is a captured number of entries. An entry is
current in a view iff no later entry of the same slot lies below that number, so each entry remembers which one came
after it, and readers who captured less ignore that.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from index_nodes.arrays import GrowingArray, Mask, Rows
from index_nodes.bitmaps import evaluate
from index_nodes.columns import Column, GrowingColumn, Kind, Leaf, field_values, kind_of
from index_nodes.keys import SlotKeys
from index_nodes.product import ProductState
from schemas.filters import Filter
from schemas.identity import ProductKey

_NONE = -1
_NEVER = np.iinfo(np.int32).max
RowIds = tuple[int, ...]
"""The rows of a product's views, in the order of its views: main rows, and behind them delta rows."""


class Overlay:
    """Append-only, with one writer.

    Args:
        main_slots: slots of the generation below.
        main_kinds: tenant → field → kind, of the generation; the first value of any other field decides its kind.
    """

    def __init__(self, main_slots: int, main_kinds: dict[str, dict[str, Kind]]) -> None:
        self._main_slots, self._main_kinds = main_slots, main_kinds
        self.kinds = {tenant: dict(kinds) for tenant, kinds in main_kinds.items()}
        self.states: list[ProductState] = []
        self.rows: list[RowIds] = []
        self._newest = np.full(max(1, main_slots), _NONE, np.int32)  # slot → its newest entry
        self.slots = GrowingArray(np.int32)
        self._before = GrowingArray(np.int32)
        self.after = GrowingArray(np.int32)
        self.tenants = GrowingArray(np.int32)
        self.visible = GrowingArray(np.bool_)
        self.content_versions = GrowingArray(np.int64)
        self.tenant_codes: dict[str, int] = {}
        self._columns: dict[tuple[str, str], GrowingColumn] = {}
        self.touched = 0

    def __len__(self) -> int:
        return len(self.states)

    def append(self, slot: int, key: ProductKey, state: ProductState, rows: RowIds) -> None:
        """The product at ``slot`` has a new state."""
        entry, before = len(self.states), self.newest(slot)
        self.states.append(state)
        self.rows.append(rows)
        self.slots.append(slot)
        self._before.append(before)
        self.after.append(_NEVER)
        self.tenants.append(self.tenant_codes.setdefault(key.tenant, len(self.tenant_codes)))
        self.visible.append(state.is_visible)
        self.content_versions.append(state.content_version)
        if state.is_visible:
            self._index(entry, key, state)
        self._make_newest(slot, entry, before)

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

    def column(self, tenant: str, name: str, count: int) -> Column | None:
        """The field's values in the first ``count`` entries; None where it has none."""
        column = self._columns.get((tenant, name))
        return None if column is None else column.captured(count)

    def captured(self) -> "OverlayView":
        return OverlayView(self, len(self.states))

    def rewritten(self, keys: SlotKeys) -> "Overlay":
        """The same with current entries only; views keep the old one."""
        fresh = Overlay(self._main_slots, self._main_kinds)
        fresh.kinds = self.kinds  # a kind once accepted stays
        for entry in np.flatnonzero(self.captured().current).tolist():
            slot = int(self.slots[entry])
            fresh.append(slot, keys.key(slot), self.states[entry], self.rows[entry])
        return fresh

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
            if kinds.setdefault(name, kind) is not kind:
                continue  # kept in the product, but a field is filtered by its first kind
            column = self._columns.get((key.tenant, name))
            if column is None:
                column = self._columns[key.tenant, name] = GrowingColumn(kind)
            column.append(entry, value)


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

    def passing(self, tenant: str, clause: Filter | None) -> Mask:
        """(count,) bool: current, visible, of the tenant, and passing the (checked) filter."""
        code = self.overlay.tenant_codes.get(tenant, _NONE)
        passing = self.current & self.overlay.visible.captured(self.count)
        passing &= self.overlay.tenants.captured(self.count) == code
        if clause is not None:
            passing &= evaluate(clause, lambda leaf: self._mask(tenant, leaf))
        return passing

    def content_versions(self) -> npt.NDArray[np.int64]:
        """(count,) int64: -1 where an entry is not visible."""
        return self.overlay.content_versions.captured(self.count)

    def _mask(self, tenant: str, leaf: Leaf) -> Mask:
        column = self.overlay.column(tenant, leaf.field, self.count)
        return np.zeros(self.count, np.bool_) if column is None else column.mask(leaf, self.count)
