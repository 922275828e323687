"""What a query sees: one immutable view, captured by taking a reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from index_nodes.generations.generation import Generation
from index_nodes.generations.offsets import Offsets
from index_nodes.products.digest import Digest
from index_nodes.products.keys import SlotKeys
from index_nodes.products.overlay import OverlayView, RowIds
from index_nodes.products.product import GROUP_BYTES, ProductState
from index_nodes.rows.arrays import Mask
from index_nodes.rows.delta import DeltaView
from index_nodes.rows.graph import Graph
from index_nodes.rows.passing import LocalRows
from index_nodes.rows.tail import Block
from index_nodes.views.selection import Among, Part, Selection, selected
from schemas.fields import Kind
from schemas.filters import Filter
from schemas.shard import ShardHit

_SELECTIONS_MAX = 64


@dataclass(frozen=True)
class IndexView:
    """The index after some batch. Nothing in it changes, but for bitmaps it remembers.

    ``slots`` is the number of products ever seen; ``main_alive`` (n,) bool, of which ``main_live`` are set; ``digests``
    by index-log partition, of the prefix ``offsets.applied`` unless content is withheld; ``products`` counts visible
    ones.
    """

    generation: Generation
    keys: SlotKeys
    slots: int
    overlay: OverlayView
    main_alive: Mask
    main_live: int
    delta: DeltaView
    offsets: Offsets
    digests: Mapping[int, Digest]
    products: int
    live_rows: int
    _selections: dict[tuple[str, Filter | None], Selection] = field(default_factory=dict, repr=False)

    def find(self, key: bytes) -> int | None:
        """The slot of a product that this view knows."""
        slot = self.keys.find(key)
        return slot if slot is not None and slot < self.slots else None

    def state(self, slot: int) -> ProductState:
        entry = self.overlay.entry(slot)
        return self.generation.state(slot) if entry < 0 else self.overlay.overlay.state(entry)

    def hit(self, slot: int) -> ShardHit:
        """The visible product at a slot, see :func:`hits.hit_of`."""
        entry = self.overlay.entry(slot)
        return self.generation.hit(slot) if entry < 0 else self._changed_hit(slot, entry)

    def hits(self, slots: Sequence[int]) -> list[ShardHit]:
        """The visible products at some slots; see :meth:`hit`."""
        if not self.overlay.count:  # as after a compaction
            return [self.generation.hit(slot) for slot in slots]
        entries = self.overlay.entries(np.array(slots, np.int64)).tolist()
        return [
            self.generation.hit(slot) if entry < 0 else self._changed_hit(slot, entry)
            for slot, entry in zip(slots, entries, strict=True)
        ]

    def raw_state(self, slot: int) -> bytes:
        """The state as MessagePack."""
        entry = self.overlay.entry(slot)
        return bytes(self.generation.raw_state(slot) if entry < 0 else self.overlay.overlay.raw_state(entry))

    def rows(self, slot: int) -> RowIds:
        """The live rows of the product, first view first: main rows, and from ``len(generation)`` on delta rows."""
        entry = self.overlay.entry(slot)
        return self.generation.rows_of(slot) if entry < 0 else self.overlay.overlay.rows[entry]

    def vector(self, row: int) -> npt.NDArray[np.float16]:
        """(dim,) float16 of a live row."""
        main = len(self.generation)
        vector: npt.NDArray[np.float16] = self.generation.vectors[row] if row < main else self.delta.vector(row - main)
        return vector

    def kinds(self, tenant: str) -> Mapping[str, frozenset[Kind]]:
        """The kinds of values of each field that products of this tenant have; empty for a tenant without products."""
        return self.overlay.overlay.kinds.get(tenant, {})

    def select(self, tenant: str, clause: Filter | None) -> Selection:
        """The bitmaps of a filter, computed once per view."""
        known = self._selections.get((tenant, clause))
        if known is None:
            if len(self._selections) >= _SELECTIONS_MAX:
                self._selections.clear()
            known = self._selections[tenant, clause] = self._select(tenant, clause)
        return known

    def slots_of(self, part: Part, rows: LocalRows) -> npt.NDArray[np.int64]:
        """The slots of rows of one part."""
        if isinstance(part, Generation):
            return part.slots_of(rows)
        assert isinstance(part, Graph | Block)
        return self.delta.slots_of(part)[rows].astype(np.int64)

    def groups_of(self, slots: LocalRows) -> list[bytes]:
        """The duplicate group of each slot."""
        entries = self.overlay.entries(slots)
        is_main = entries < 0
        groups = np.empty(len(slots), (np.void, GROUP_BYTES))
        groups[is_main] = self.generation.groups_of(slots[is_main])
        groups[~is_main] = self.overlay.groups_of(entries[~is_main])
        found: list[bytes] = groups.tolist()
        return found

    def content_versions(self, slots: LocalRows) -> npt.NDArray[np.int64]:
        """(m,) int64 of visible slots."""
        entries = self.overlay.entries(slots)
        is_main = entries < 0
        versions = np.empty(len(slots), np.int64)
        versions[is_main] = self.generation.content_versions[slots[is_main]]
        versions[~is_main] = self.overlay.content_versions()[entries[~is_main]]
        return versions

    def _changed_hit(self, slot: int, entry: int) -> ShardHit:
        return self.overlay.overlay.hit(entry, self.keys.raw(slot))

    def _select(self, tenant: str, clause: Filter | None) -> Selection:
        base = self.generation.passing(tenant, clause)
        among = Among(self.generation, self.main_alive, self.main_live, self.overlay, self.delta, self.slots)
        return selected(among, tenant, clause, base)
