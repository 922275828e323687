"""The newest rows: an open tail that grows, and sealed blocks that no longer do.

Where the generation lends a codebook, most of a block is scanned as codes and only the newest rows by their full
vectors; without one all are.

The type says what may be called: an open tail can be appended to and sealed, a block only be searched; the graph built
of a block takes its place.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from index_nodes.rows.codes import CodedRows, no_rows
from index_nodes.rows.exact import ExactRows, index_over
from index_nodes.rows.passing import Nearest, Passing, joined
from schemas.embeddings import Vector

BLOCK_ROWS = 16_384
"""Rows of a block: fewer are scanned about as fast as a graph over them is searched (docs/adr/0009)."""
CODED_AT_ONCE = 1_024
"""So many new rows take some ten milliseconds to code, and are scanned by their full vectors until then. The first are
coded when there are twice as many: before, two scans cost more than one."""
_PASSING_SHARE = 0.5
"""Where fewer pass, full vectors are scanned, which can leave out rows beforehand."""


@dataclass(frozen=True)
class Block:
    """Rows ``first_row`` to ``first_row + len(vectors)`` of the delta; ``vectors`` (n, dim) float16.

    ``coded``: the first of them, None where none are; ``lent``: an index of the others, see :class:`exact.ExactRows`.
    """

    first_row: int
    vectors: npt.NDArray[np.float16]
    coded: CodedRows | None = None
    lent: Any = None
    source: str = "tail"

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def exact(self) -> ExactRows:
        """The same, by full vectors alone."""
        return self._newest if self.coded is None else ExactRows(self.vectors)

    def search(self, query: Vector, wanted: int, passing: Passing) -> Nearest:
        """About the ``wanted`` nearest passing rows, never fewer than min(wanted, passing); all of them, in truth,
        where nothing is coded.

        Args:
            query: (dim,) float32 of unit norm.
            wanted: >= 1.
            passing: over the n rows of the block.
        """
        if passing.about > max(wanted, _PASSING_SHARE * len(self)):
            found = self._nearest(query, math.ceil(wanted * len(self) / passing.about))
            found = found.among(passing.includes(found.rows))
            if len(found.rows) >= wanted:
                return found
        return self.exact.search(query, wanted, passing)

    def _nearest(self, query: Vector, wanted: int) -> Nearest:
        newest = self._newest.nearest(query, wanted)
        if self.coded is None:
            return newest
        return joined(self.coded.search(query, wanted), Nearest(newest.rows + len(self.coded), newest.scores))

    @cached_property
    def _newest(self) -> ExactRows:
        """Those that are not coded."""
        return ExactRows(self.vectors[len(self.coded or ()) :], self.lent)


class OpenTail:
    """The block that new rows go to; one writer."""

    def __init__(self, first_row: int, dim: int, rows_max: int = BLOCK_ROWS, codebook: Any = None) -> None:
        self.first_row = first_row
        self._coded = None if codebook is None else no_rows(codebook, dim)
        self._vectors = np.empty((rows_max, dim), np.float16)
        self._count = 0
        self._lent = index_over(self._vectors, 0)

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        return self._count == len(self._vectors)

    def append(self, vector: npt.NDArray[np.float16]) -> int:
        """Add a row; returns its number in the delta."""
        assert not self.is_full
        # Beyond what any captured block reaches, so no reader sees it.
        self._vectors[self._count] = vector
        self._count += 1
        self._lent.ntotal += 1
        if self._coded is not None and self._count % CODED_AT_ONCE == 0 and self._count > CODED_AT_ONCE:
            self._coded = self._coded.extended(self._vectors[: self._count])
            self._lent = index_over(self._vectors[self._count :], 0)
        return self.first_row + self._count - 1

    def captured(self) -> Block:
        """What is there now."""
        return Block(self.first_row, self._vectors[: self._count], self._coded or None, self._lent)

    def seal(self) -> Block:
        """The full block; the tail must not be used any more."""
        assert self.is_full
        return self.captured()
