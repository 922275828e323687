"""The newest rows, searched exactly: an open tail that grows, and sealed blocks that no longer do.

The type says what may be called: an open tail can be appended to and sealed, a block only be searched; the graph built
of a block takes its place.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from index_nodes.exact import ExactRows
from index_nodes.passing import Nearest, Passing
from schemas.embeddings import Vector

BLOCK_ROWS = 16_384
"""Rows of a block: fewer are scanned about as fast as a graph over them is searched (docs/adr/0009)."""


@dataclass(frozen=True)
class Block:
    """Rows ``first_row`` to ``first_row + len(vectors)`` of the delta; ``vectors`` (n, dim) float16."""

    first_row: int
    vectors: npt.NDArray[np.float16]
    source: str = "tail"

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def exact(self) -> ExactRows:
        """The same, to be searched."""
        return ExactRows(self.vectors)

    def search(self, query: Vector, wanted: int, passing: Passing) -> Nearest:
        """At least the ``wanted`` nearest passing rows, or all that pass.

        Args:
            query: (dim,) float32 of unit norm.
            wanted: >= 1.
            passing: over the n rows of the block.
        """
        return self.exact.search(query, wanted, passing)


class OpenTail:
    """The block that new rows go to; one writer."""

    def __init__(self, first_row: int, dim: int, rows_max: int = BLOCK_ROWS) -> None:
        self.first_row = first_row
        self._vectors = np.empty((rows_max, dim), np.float16)
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
