"""Which rows or slots may be in an answer, in the forms that the indexes take."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from index_nodes.arrays import Mask
from schemas.embeddings import Vector

LocalRows = npt.NDArray[np.int64]
"""Row numbers within one part of the index."""
_CHUNK_ROWS = 8192


class Passing:
    """A bitmap and what is derived from it, each form at most once. ``mask`` (n,) bool is not changed any more."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask

    @cached_property
    def rows(self) -> LocalRows:
        """(count,) int64, ascending."""
        return np.flatnonzero(self.mask)

    @cached_property
    def count(self) -> int:
        return int(np.count_nonzero(self.mask))

    @cached_property
    def packed(self) -> npt.NDArray[np.uint8]:
        """Eight to a byte, least significant first, as FAISS selects by."""
        return np.packbits(self.mask, bitorder="little")


def best_rows(rows: LocalRows, scores: npt.NDArray[np.float32], wanted: int) -> LocalRows:
    """The ``wanted`` rows of greatest score, in any order; all if there are no more."""
    if len(rows) <= wanted:
        return rows
    return rows[np.argpartition(scores, -wanted)[-wanted:]]


def scan(vectors: npt.NDArray[np.floating], query: Vector, wanted: int, rows: LocalRows) -> LocalRows:
    """Exactly the ``wanted`` best of ``rows``, in any order; ``vectors`` (n, dim) of float16 or float32."""
    best, best_scores = rows[:0], np.empty(0, np.float32)
    for start in range(0, len(rows), _CHUNK_ROWS):
        chunk = rows[start : start + _CHUNK_ROWS]
        scores = vectors[chunk].astype(np.float32) @ query
        best, best_scores = np.concatenate([best, chunk]), np.concatenate([best_scores, scores])
        if len(best) > wanted:
            kept = np.argpartition(best_scores, -wanted)[-wanted:]
            best, best_scores = best[kept], best_scores[kept]
    return best
