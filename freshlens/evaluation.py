"""Measures of a search by vectors: recall@k, mean reciprocal rank, precision@k, mean average precision.

Everything is exact: all queries against all catalogue vectors. Vectors are rows of unit norm (float32),
labels any integers; a catalogue row is relevant to a query when their labels are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]
Hits: TypeAlias = NDArray[np.bool_]

_QUERIES_AT_ONCE = 256


@dataclass(frozen=True)
class Interval:
    """A mean (0 to 1) with the bounds of its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def ranked_hits(queries: Vectors, query_labels: Labels, catalogue: Vectors, labels: Labels, depth: int) -> Hits:
    """(queries, min(depth, catalogue)) booleans: is the catalogue row at this rank relevant?

    Ranks are by inner product, best first; ties go to the earlier row.

    Raises:
        ValueError: the catalogue is empty or dimensions differ; nothing can be ranked, fix the input.
    """
    if len(catalogue) == 0 or queries.shape[1] != catalogue.shape[1]:
        raise ValueError(f"cannot rank {catalogue.shape} for queries {queries.shape}")
    depth = min(depth, len(catalogue))
    found = np.empty((len(queries), depth), np.bool_)
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        part = slice(start, start + _QUERIES_AT_ONCE)
        order = np.argsort(-(queries[part] @ catalogue.T), axis=1, kind="stable")[:, :depth]
        found[part] = labels[order] == query_labels[part, None]
    return found


def recall_at(hits: Hits, k: int) -> float:
    """Share of queries with a relevant row among the first k (one relevant row per query is enough)."""
    return float(hits[:, :k].any(axis=1).mean())


def precision_at(hits: Hits, k: int) -> float:
    """Mean share of relevant rows among the first k; a shorter ranking counts as misses."""
    return float(hits[:, :k].sum(axis=1).mean() / k)


def mean_reciprocal_rank(hits: Hits) -> float:
    """Mean of 1 / rank of the first relevant row, 0 where none was ranked."""
    first = hits.argmax(axis=1)
    return float(np.where(hits.any(axis=1), 1 / (first + 1), 0).mean())


def mean_average_precision(hits: Hits) -> float:
    """Mean over queries of the average precision within the ranking's depth."""
    ranks = np.arange(1, hits.shape[1] + 1)
    precisions = np.cumsum(hits, axis=1) / ranks
    totals = hits.sum(axis=1)
    return float(np.where(totals > 0, (precisions * hits).sum(axis=1) / np.maximum(totals, 1), 0).mean())


def bootstrap(values: Sequence[float] | NDArray[np.float64], *, rounds: int = 1_000, seed: int = 0) -> Interval:
    """The mean of per-query values and where it lies in 95 % of resamplings.

    Raises:
        ValueError: there are no values.
    """
    sample = np.asarray(values, np.float64)
    if len(sample) == 0:
        raise ValueError("no values to average")
    rng = np.random.default_rng(seed)
    means = sample[rng.integers(0, len(sample), (rounds, len(sample)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(sample.mean()), float(low), float(high))
