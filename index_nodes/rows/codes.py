"""New rows as short codes: FAISS scans them many times faster than full vectors, by which the best are compared.

Four bits stand for every two dimensions. The codebook is the one by which the generation chooses its lists, so nothing
has to be learnt; rows of a kind that the generation has not seen are coded less well (docs/adr/0016).
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from index_nodes.rows.exact import SPARE, ExactRows
from index_nodes.rows.passing import Nearest, faiss
from schemas.embeddings import Vector

RESCORED = 128
"""So many candidates are compared by their full vectors; for more than 16 results, eight times as many as those."""
_RESCORED_EACH = 8


@dataclass(frozen=True)
class CodedRows:
    """The first rows of a block, immutable. ``exact`` has the same rows with their full vectors."""

    index: Any
    exact: ExactRows

    def __len__(self) -> int:
        return len(self.exact)

    def extended(self, vectors: npt.NDArray[np.float16]) -> "CodedRows":
        """The rows of ``vectors`` (n, dim), which begin with those that are coded here."""
        index = faiss.clone_index(self.index)
        index.add(vectors[len(self) :].astype(np.float32))
        return CodedRows(index, ExactRows(vectors))

    def search(self, query: Vector, wanted: int) -> Nearest:
        """About the ``wanted`` nearest rows and some more, or all there are.

        Args:
            query: (dim,) float32 of unit norm.
            wanted: >= 1.
        """
        fetched = min(len(self), wanted + SPARE)
        rescored = min(len(self), max(RESCORED, _RESCORED_EACH * wanted))
        scores, rows = self._rescoring.search(query[None], fetched, params=_parameters(fetched, rescored))
        found = Nearest(rows[0], scores[0])
        return found if rows[0, -1] >= 0 else found.among(rows[0] >= 0)

    @cached_property
    def _rescoring(self) -> Any:
        return faiss.IndexRefine(self.index, self.exact.index)


@lru_cache(maxsize=64)
def _parameters(fetched: int, rescored: int) -> Any:
    return faiss.IndexRefineSearchParameters(k_factor=(rescored + 0.5) / fetched)


def no_rows(codebook: Any, dim: int) -> CodedRows:
    """The beginning of a block. ``codebook``: see :attr:`ivf.IvfIndex.codebook`."""
    return CodedRows(codebook, ExactRows(np.empty((0, dim), np.float16)))
