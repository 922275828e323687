"""What a query sees: one immutable view, captured by taking a reference."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from index_nodes.arrays import Mask
from index_nodes.bitmaps import check
from index_nodes.columns import Kind
from index_nodes.delta import DeltaView
from index_nodes.generation import Generation
from index_nodes.graph import Graph
from index_nodes.keys import SlotKeys
from index_nodes.offsets import Offsets
from index_nodes.overlay import OverlayView, RowIds
from index_nodes.passing import LocalRows, Passing
from index_nodes.product import ProductState
from index_nodes.tail import Block
from schemas.embeddings import Vector
from schemas.filters import Filter

_SELECTIONS_MAX = 64


class Part(Protocol):
    """Rows under one index: the generation, a graph, or an exact block."""

    @property
    def source(self) -> str: ...

    def __len__(self) -> int: ...

    def search(self, query: Vector, wanted: int, passing: Passing) -> LocalRows: ...

    def scan(self, query: Vector, wanted: int, passing: Passing) -> LocalRows: ...

    def vectors_of(self, rows: LocalRows) -> Vector: ...


@dataclass(frozen=True)
class Selection:
    """What may be in an answer: ``slots`` over all products, and for each part with such rows those that live."""

    slots: Passing
    parts: tuple[tuple[Part, Passing], ...]


@dataclass(frozen=True)
class IndexView:
    """The index after some batch. Nothing in it changes, but for bitmaps it remembers.

    ``slots`` is the number of products ever seen; ``main_alive`` (n,) bool; ``products`` counts visible ones.
    """

    generation: Generation
    keys: SlotKeys
    slots: int
    overlay: OverlayView
    main_alive: Mask
    delta: DeltaView
    offsets: Offsets
    products: int
    live_rows: int
    _selections: dict[tuple[str, Filter | None], Selection] = field(default_factory=dict, repr=False)

    def find(self, key: bytes) -> int | None:
        """The slot of a product that this view knows."""
        slot = self.keys.find(key)
        return slot if slot is not None and slot < self.slots else None

    def state(self, slot: int) -> ProductState:
        entry = self.overlay.entry(slot)
        return self.generation.state(slot) if entry < 0 else self.overlay.overlay.states[entry]

    def rows(self, slot: int) -> RowIds:
        """The live rows of the product, first view first: main rows, and from ``len(generation)`` on delta rows."""
        entry = self.overlay.entry(slot)
        return self.generation.rows_of(slot) if entry < 0 else self.overlay.overlay.rows[entry]

    def vector(self, row: int) -> npt.NDArray[np.float16]:
        """(dim,) float16 of a live row."""
        main = len(self.generation)
        vector = self.generation.vectors[row] if row < main else self.delta.vector(row - main)
        return vector.astype(np.float16)

    def kinds(self, tenant: str) -> dict[str, Kind]:
        """The fields that a filter of this tenant may name; empty for a tenant without products."""
        return self.overlay.overlay.kinds.get(tenant, {})

    def select(self, tenant: str, clause: Filter | None) -> Selection:
        """The bitmaps of a filter, computed once per view.

        Raises:
            UnknownField, FilterType: the filter asks for what there is not; never for a tenant without products.
        """
        kinds = self.kinds(tenant)
        if clause is not None and kinds:
            check(clause, kinds)
        known = self._selections.get((tenant, clause))
        if known is None:
            if len(self._selections) >= _SELECTIONS_MAX:
                self._selections.clear()
            known = self._selections[tenant, clause] = self._select(tenant, clause if kinds else None)
        return known

    def slots_of(self, part: Part, rows: LocalRows) -> npt.NDArray[np.int64]:
        """The slots of rows of one part."""
        if isinstance(part, Generation):
            return part.slots_of(rows)
        assert isinstance(part, Graph | Block)
        return self.delta.slots[rows + part.first_row].astype(np.int64)

    def content_versions(self, slots: LocalRows) -> npt.NDArray[np.int64]:
        """(m,) int64 of visible slots."""
        versions = np.full(self.slots, -1, np.int64)
        versions[: self.generation.slots] = self.generation.content_versions
        current = self.overlay.current
        versions[self.overlay.slots[current]] = self.overlay.content_versions()[current]
        return versions[slots]

    def _select(self, tenant: str, clause: Filter | None) -> Selection:
        slots = np.zeros(self.slots, np.bool_)
        slots[: self.generation.slots] = self.generation.passing(tenant, clause)
        if self.overlay.count:
            slots[self.overlay.slots] = False
            slots[self.overlay.slots[self.overlay.passing(tenant, clause)]] = True
        return Selection(Passing(slots), tuple(self._parts(slots)))

    def _parts(self, slots: Mask) -> Iterator[tuple[Part, Passing]]:
        main = self.generation.row_mask(slots)
        main &= self.main_alive
        delta = self.delta.alive & slots[self.delta.slots]
        whole: list[tuple[Part, Mask]] = [(self.generation, main)]
        for segment in self.delta.segments:
            whole.append((segment, delta[segment.first_row : segment.first_row + len(segment)]))
        for part, mask in whole:
            if mask.any():
                yield part, Passing(mask)
