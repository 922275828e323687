"""Which rows or slots may be in an answer, in the forms that the indexes take."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from index_nodes.arrays import Mask
from schemas.embeddings import Vector

LocalRows = npt.NDArray[np.int64]
"""Row numbers within one part of the index."""
_CHUNK_ROWS = 8192
_TIE = 2e-6
"""Rounding of a single-precision score: equal vectors differ by less."""
_TIES_MAX = 1024
"""A picture that thousands share (a placeholder) must not make every search re-score all of them."""


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
    """The ``wanted`` rows of greatest score and those that tie with the last, in any order; all if no more pass."""
    return rows[_best(scores, wanted)]


def scan(vectors: npt.NDArray[np.floating], query: Vector, wanted: int, rows: LocalRows) -> LocalRows:
    """As :func:`best_rows` over the exact scores of ``rows``; ``vectors`` (n, dim) of float16 or float32."""
    best, best_scores = rows[:0], np.empty(0, np.float32)
    for start in range(0, len(rows), _CHUNK_ROWS):
        chunk = rows[start : start + _CHUNK_ROWS]
        best = np.concatenate([best, chunk])
        best_scores = np.concatenate([best_scores, vectors[chunk].astype(np.float32) @ query])
        kept = _best(best_scores, wanted)
        best, best_scores = best[kept], best_scores[kept]
    return best


def _best(scores: npt.NDArray[np.float32], wanted: int) -> LocalRows:
    """Places of the greatest scores. Ties with the last are decided by key, so they have to be among them."""
    if len(scores) <= wanted:
        return np.arange(len(scores))
    least = np.partition(scores, -wanted)[-wanted] - _TIE
    places = np.flatnonzero(scores >= least)
    if len(places) > wanted + _TIES_MAX:
        return np.argpartition(scores, -wanted - _TIES_MAX)[-wanted - _TIES_MAX :]
    return places
