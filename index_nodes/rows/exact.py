"""Rows compared one by one: FAISS reads float16 where it lies, in a mapped file or in a block of the delta."""

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from index_nodes.rows.passing import Nearest, Passing, faiss
from schemas.embeddings import Vector

TIE = 2e-6
"""Rounding of a single-precision score: equal vectors differ by less."""
SPARE = 6
"""Rows asked for beyond those wanted, so that ties with the last are usually among them."""
_TIES_MAX = 1024
"""A picture that thousands share (a placeholder) must not make every search return all of them."""
_GATHERED_SHARE = 1 / 16
"""Where fewer pass, their vectors are copied together first: testing every row would take longer."""


class ExactRows:
    """``vectors`` (n, dim) float16, which stay where they are and are not changed any more.

    Args:
        lent: an index of :func:`index_over`, whose first n rows these are; None: one is made for the first search.
    """

    def __init__(self, vectors: npt.NDArray[np.float16], lent: Any = None) -> None:
        self.vectors, self._lent = vectors, lent

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, query: Vector, wanted: int, passing: Passing) -> Nearest:
        """The ``wanted`` best passing rows and those that tie with the last, or all that pass."""
        if passing.count < _GATHERED_SHARE * len(self):
            gathered = ExactRows(np.ascontiguousarray(self.vectors[passing.rows]))
            places, scores = gathered._nearest(query, wanted, passing.count, None)
            return Nearest(passing.rows[places], scores)
        return self._nearest(query, wanted, passing.count, passing.selector)

    def nearest(self, query: Vector, wanted: int) -> Nearest:
        """As :meth:`search`, where all pass."""
        return self._nearest(query, wanted, len(self), None)

    @cached_property
    def index(self) -> Any:
        """The same as a FAISS index, whose codes are these vectors; behind them may lie newer rows of its lender."""
        return index_over(self.vectors, len(self)) if self._lent is None else self._lent

    def _nearest(self, query: Vector, wanted: int, count: int, selector: Any) -> Nearest:
        parameters = None if selector is None else faiss.SearchParameters(sel=selector)
        fetched = min(count, wanted + SPARE)
        while True:
            if not fetched:
                return Nearest(np.empty(0, np.int64), np.empty(0, np.float32))
            nearest = self._found(query, fetched, parameters)
            if fetched == count or fetched >= wanted + _TIES_MAX:
                return nearest
            if fetched > wanted and nearest.scores[-1] < (least := nearest.scores[wanted - 1] - TIE):
                # Not the spare ones: of those that tie with the last of them, some are missing.
                return nearest.among(nearest.scores >= least)
            fetched = min(count, 4 * fetched, wanted + _TIES_MAX)

    def _found(self, query: Vector, count: int, parameters: Any) -> Nearest:
        """The ``count`` best, of at least so many that may be found."""
        while True:
            # Whoever lent the index may add rows at any time; the search finds them, too.
            newer = self.index.ntotal - len(self)
            scores, rows = self.index.search(query[None], count + newer, params=parameters)
            if self.index.ntotal == len(self):
                return Nearest(rows[0], scores[0])
            own = np.flatnonzero((rows[0] >= 0) & (rows[0] < len(self)))[:count]
            if len(own) == count:
                return Nearest(rows[0][own], scores[0][own])


def index_over(vectors: npt.NDArray[np.float16], count: int) -> Any:
    """The first ``count`` rows of an array as a FAISS index, without a copy; keep the array for as long as the index.

    Where more rows of the array have been written, ``ntotal`` can be raised.
    """
    index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    view = faiss.MaybeOwnedVectorUInt8
    address = faiss.cast_integer_to_void_ptr(vectors.ctypes.data)
    index.codes = view.create_view(address, vectors.nbytes, view().owner)
    index.ntotal = count
    return index
