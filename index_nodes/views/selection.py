"""What may be in an answer: the products of a tenant that pass a filter, and their rows, part by part."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from index_nodes.generations.generation import Base, Generation
from index_nodes.products.overlay import Counts, OverlayView
from index_nodes.rows.arrays import Mask, Rows
from index_nodes.rows.delta import DeltaView
from index_nodes.rows.exact import ExactRows
from index_nodes.rows.graph import Segment
from index_nodes.rows.passing import LatePassing, LocalRows, Nearest, Passing
from schemas.embeddings import Vector
from schemas.filters import Filter


class Part(Protocol):
    """Rows under one index: the generation, a graph, or an exact block."""

    @property
    def source(self) -> str: ...

    def __len__(self) -> int: ...

    def search(self, query: Vector, wanted: int, passing: Passing) -> Nearest: ...

    @property
    def exact(self) -> ExactRows: ...

    @property
    def vectors(self) -> npt.NDArray[np.float16]: ...


@dataclass(frozen=True)
class Among:
    """What a view selects from. A view keeps its selections, so that they must not know the view: what holds itself
    is let go only when Python looks for it, and views come and go with all they hold.

    ``main_alive`` (n,) bool, of which ``main_live`` are set: rows of the generation; ``slots``: how many there are.
    """

    generation: Generation
    main_alive: Mask
    main_live: int
    overlay: OverlayView
    delta: DeltaView
    slots: int


@dataclass(frozen=True)
class Selection:
    """What may be in an answer: the number of products, ``slots`` over all, and the rows of each part that has any."""

    products: int
    slots: Passing
    parts: tuple[tuple[Part, Passing], ...]


def selected(among: Among, tenant: str, clause: Filter | None, base: Base) -> Selection:
    """What passes a (checked) filter; ``base`` is what does in the generation."""
    chosen = _Chosen(among, tenant, clause, base)
    return Selection(chosen.products, chosen.slots(), tuple(chosen.parts()))


@dataclass(frozen=True)
class _Chosen:
    """Works out a selection: ``base`` passes in the generation, and over it what changed.

    Views come and go many times a second, so whatever takes time by the number of products, or of changes, is put off
    until a search asks for it, and an ordinary one does not.
    """

    among: Among
    tenant: str
    clause: Filter | None
    base: Base

    @cached_property
    def products(self) -> int:
        """How many pass."""
        return self.base.products + self._counts.gained

    @cached_property
    def _counts(self) -> Counts:
        """Passing products of the overlay, and how many more they are than those that passed below it."""
        if self.clause is None:
            return self.among.overlay.shown(self.tenant)
        passing, hidden = np.count_nonzero(self._changed), np.count_nonzero(self.base.slots[self.among.overlay.below])
        return Counts(int(passing), int(passing) - int(hidden))

    @cached_property
    def _changed(self) -> Mask:
        """(count,) bool: the overlay's entries that pass."""
        return self.among.overlay.passing(self.tenant, self.clause)

    def slots(self) -> Passing:
        """The products."""
        return LatePassing(self.among.slots, self.products, self._slots_mask, self._includes_slots)

    def parts(self) -> Iterator[tuple[Part, Passing]]:
        """The parts that may have passing rows."""
        among, counts = self.among, self._counts
        if self.base.rows or among.overlay.count:
            about = max(0, min(among.main_live, self.base.rows + counts.gained))
            yield among.generation, LatePassing(len(among.generation), about, self._rows_mask, self._includes_rows)
        if not counts.visible:
            return
        share = counts.visible / among.overlay.shown(None).visible
        for segment in among.delta.segments:
            if live := int(np.count_nonzero(among.delta.alive_of(segment))):
                about = max(1, round(share * live))
                mask, includes = partial(self._segment_mask, segment), partial(self._includes_of, segment)
                yield segment, LatePassing(len(segment), about, mask, includes)

    def _includes_slots(self, slots: LocalRows) -> Mask:
        if not self.among.overlay.count:  # as after a compaction
            return self.base.slots[slots]
        entries = self.among.overlay.entries(slots)
        is_main = entries < 0
        if is_main.all():
            return self.base.slots[slots]
        included = np.empty(len(slots), np.bool_)
        included[is_main] = self.base.slots[slots[is_main]]
        included[~is_main] = self._passes(entries[~is_main])
        return included

    def _passes(self, entries: Rows) -> Mask:
        return self._changed[entries] if self.clause is not None else self.among.overlay.shows(self.tenant, entries)

    def _includes_rows(self, rows: LocalRows) -> Mask:
        return self.among.main_alive[rows] & self._includes_slots(self.among.generation.slots_of(rows))

    def _includes_of(self, segment: Segment, rows: LocalRows) -> Mask:
        entries = self.among.overlay.entries(self.among.delta.slots_of(segment)[rows])
        return self.among.delta.alive_of(segment)[rows] & self._passes(entries)

    def _slots_mask(self) -> Mask:
        mask = np.zeros(self.among.slots, np.bool_)
        mask[: self.among.generation.slots] = self.base.slots
        overlay = self.among.overlay
        mask[overlay.slots] = False
        mask[overlay.slots[self._changed]] = True
        return mask

    def _rows_mask(self) -> Mask:
        mask = self.among.generation.row_mask(self._slots_mask())
        mask &= self.among.main_alive
        return mask

    def _segment_mask(self, segment: Segment) -> Mask:
        entries = self.among.overlay.entries(self.among.delta.slots_of(segment))
        return self.among.delta.alive_of(segment) & self._passes(entries)
