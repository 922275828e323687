"""Rows compared one by one: FAISS reads float16 where it lies, in a mapped file or in a block of the delta."""

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from index_nodes.passing import Nearest, Passing, faiss
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
    """``vectors`` (n, dim) float16, which stay where they are and are not changed any more."""

    def __init__(self, vectors: npt.NDArray[np.float16]) -> None:
        self.vectors = vectors

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
        """The same as a FAISS index, whose codes are these vectors."""
        index = faiss.IndexScalarQuantizer(
            self.vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        view = faiss.MaybeOwnedVectorUInt8
        address = faiss.cast_integer_to_void_ptr(self.vectors.ctypes.data)
        # No owner: this object holds on to the array for longer than to the index.
        index.codes = view.create_view(address, self.vectors.nbytes, view().owner)
        index.ntotal = len(self)
        return index

    def _nearest(self, query: Vector, wanted: int, count: int, selector: Any) -> Nearest:
        parameters = None if selector is None else faiss.SearchParameters(sel=selector)
        fetched = min(count, wanted + SPARE)
        while True:
            if not fetched:
                return Nearest(np.empty(0, np.int64), np.empty(0, np.float32))
            scores, rows = self.index.search(query[None], fetched, params=parameters)
            nearest = Nearest(rows[0], scores[0])
            if fetched == count or fetched >= wanted + _TIES_MAX:
                return nearest
            if fetched > wanted and nearest.scores[-1] < (least := nearest.scores[wanted - 1] - TIE):
                # Not the spare ones: of those that tie with the last of them, some are missing.
                return nearest.among(nearest.scores >= least)
            fetched = min(count, 4 * fetched, wanted + _TIES_MAX)
