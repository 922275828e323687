"""Queries for measuring an index at build time, when nobody has asked anything yet."""

import numpy as np
import numpy.typing as npt

from schemas.embeddings import Vector

_KEPT = 0.6


def between(vectors: npt.NDArray[np.floating], count: int, random: np.random.Generator) -> Vector:
    """(count, dim) float32 of unit norm: rows moved towards other rows.

    They are as far from the catalogue's pictures as a shopper's photo is: at every number of probes their recall came
    within 0.02 of that of phone photos, while rows with noise are much easier to find (docs/performance.md).
    """
    rows, count = len(vectors), min(count, len(vectors))
    own, other = (np.sort(random.choice(rows, count, replace=False)) for _ in range(2))
    moved = _KEPT * vectors[own].astype(np.float32)
    moved += (1 - _KEPT) * random.permutation(vectors[other].astype(np.float32))
    queries: Vector = np.ascontiguousarray(moved / np.linalg.norm(moved, axis=1, keepdims=True))
    return queries
