"""Which rows or slots may be in an answer, in the forms that the indexes take, and the rows that are found."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import faiss as _typed_faiss
import numpy as np
import numpy.typing as npt

from index_nodes.rows.arrays import Mask

faiss: Any = _typed_faiss  # its type stubs know neither its keyword arguments nor its array overloads

LocalRows = npt.NDArray[np.int64]
"""Row numbers within one part of the index."""
Scores = npt.NDArray[np.float32]


class Nearest(NamedTuple):
    """Rows of one part (m,), and their inner products with the query (m,), best first."""

    rows: LocalRows
    scores: Scores

    def among(self, kept: Mask) -> "Nearest":
        """Those where ``kept`` (m,) is set."""
        return self if np.count_nonzero(kept) == len(kept) else Nearest(self.rows[kept], self.scores[kept])


def joined(one: Nearest, other: Nearest) -> Nearest:
    """Both, best first; of equal scores those of the first come first."""
    if not len(other.rows):
        return one
    rows, scores = np.concatenate([one.rows, other.rows]), np.concatenate([one.scores, other.scores])
    order = np.argsort(-scores, kind="stable")
    return Nearest(rows[order], scores[order])


class Passing:
    """A bitmap and what is derived from it, each form at most once. ``mask`` (n,) bool is not changed any more."""

    def __init__(self, mask: Mask) -> None:
        self._size, self._made = len(mask), mask

    @property
    def mask(self) -> Mask:
        return self._made

    @property
    def about(self) -> int:
        """How many pass, as far as that is known without the bitmap: what a plan is chosen by."""
        return self.count

    def includes(self, rows: LocalRows) -> Mask:
        """(m,) bool: which of these pass."""
        return self.mask[rows]

    @cached_property
    def rows(self) -> LocalRows:
        """(count,) int64, ascending."""
        return np.flatnonzero(self.mask)

    @cached_property
    def count(self) -> int:
        return int(np.count_nonzero(self.mask))

    @cached_property
    def selector(self) -> Any:
        """For FAISS; None where every row passes."""
        if self.count == self._size:
            return None
        return faiss.IDSelectorBitmap(np.packbits(self.mask, bitorder="little"))


class LatePassing(Passing):
    """A bitmap that most searches need not make: they ask about the few rows that they found."""

    def __init__(self, size: int, about: int, make: Callable[[], Mask], includes: Callable[[LocalRows], Mask]) -> None:
        self._size, self._about, self._make, self._includes = size, about, make, includes

    @cached_property
    def mask(self) -> Mask:
        return self._make()

    @property
    def about(self) -> int:
        return self._about

    def includes(self, rows: LocalRows) -> Mask:
        return self._includes(rows)
