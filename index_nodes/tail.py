"""The newest rows, searched exactly: an open tail that grows, and sealed blocks that no longer do.

The type says what may be called: an open tail can be appended to and sealed, a block only be searched; the graph built
of a block takes its place.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index_nodes.passing import LocalRows, Passing, best_rows, scan
from schemas.embeddings import Vector

BLOCK_ROWS = 4096
"""Rows of a block: an exact scan of 4,096 x 512 takes about as long as a search of the main index."""


@dataclass(frozen=True)
class Block:
    """Rows ``first_row`` to ``first_row + len(vectors)`` of the delta; ``vectors`` (n, dim) float32."""

    first_row: int
    vectors: Vector
    source: str = "tail"

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, query: Vector, wanted: int, passing: Passing) -> LocalRows:
        """The ``wanted`` best passing rows, or all that pass, in any order.

        Args:
            query: (dim,) float32 of unit norm.
            wanted: >= 1.
            passing: over the n rows of the block.
        """
        if passing.count * 4 < len(self):
            return self.scan(query, wanted, passing)
        scores = self.vectors @ query  # faster than to gather most of the rows
        return best_rows(passing.rows, scores[passing.rows], wanted)

    def scan(self, query: Vector, wanted: int, passing: Passing) -> LocalRows:
        """As search, exactly."""
        return scan(self.vectors, query, wanted, passing.rows)

    def vectors_of(self, rows: LocalRows) -> Vector:
        """(m, dim) float32 of these rows."""
        return self.vectors[rows]


class OpenTail:
    """The block that new rows go to; one writer."""

    def __init__(self, first_row: int, dim: int, rows_max: int = BLOCK_ROWS) -> None:
        self.first_row = first_row
        self._vectors = np.empty((rows_max, dim), np.float32)
        self._count = 0

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
        return self.first_row + self._count - 1

    def captured(self) -> Block:
        """What is there now."""
        return Block(self.first_row, self._vectors[: self._count])

    def seal(self) -> Block:
        """The full block; the tail must not be used any more."""
        assert self.is_full
        return self.captured()
