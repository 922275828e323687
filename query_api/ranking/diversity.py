"""Maximal marginal relevance: the next result is good, and unlike those before it (Carbonell and Goldstein 1998)."""

import numpy as np
import numpy.typing as npt

from query_api.ranking.ranked import scores_of, vectors_of
from query_api.ranking.stages import Asked, Pool, StageSkipped
from schemas.embeddings import Vector


def diversify(pool: Pool, asked: Asked) -> Pool:
    """The pool with its first k chosen one by one; those out of stock stay behind where that is the rule.

    Raises:
        StageSkipped: a search without a vector has nothing to compare.
    """
    if asked.vector is None:
        raise StageSkipped("products without vectors cannot be compared")
    is_stock_rule = asked.settings.out_of_stock == "last"
    first = [ranked for ranked in pool if ranked.hit.in_stock or not is_stock_rule]
    last = [ranked for ranked in pool if is_stock_rule and not ranked.hit.in_stock]
    return _chosen(first, asked, len(asked.vector)) + last


def _chosen(pool: Pool, asked: Asked, dim: int) -> Pool:
    if len(pool) < 2:
        return pool
    scores = scores_of(pool)
    least, span = float(scores.min()), float(np.ptp(scores)) or 1.0
    picks = marginal(vectors_of(pool, dim), (scores - least) / span, asked.options.diversity, asked.k)
    return [pool[place].to("diversity", least + span * value) for place, value in picks]


def marginal(vectors: Vector, relevance: npt.ArrayLike, diversity: float, k: int) -> list[tuple[int, float]]:
    """Every place with its value, the first k chosen greedily, the others by what was left of theirs.

    A value is (1 - diversity)·relevance - diversity·(greatest cosine with those chosen before, at least 0): as more
    are chosen it can only fall, so that values descend along the answer and explain its order.

    Args:
        vectors: (n, dim) float32 of unit norm.
        relevance: (n,) 0 to 1, descending; ties are decided by place.
        diversity: 0 to 1.
    """
    gains = (1 - diversity) * np.asarray(relevance, np.float64)
    nearest = np.zeros(len(gains))
    is_left = np.ones(len(gains), bool)
    chosen: list[tuple[int, float]] = []
    for _ in range(min(k, len(gains))):
        values = np.where(is_left, (gains - diversity * nearest).round(6), -np.inf)
        place = int(values.argmax())
        chosen.append((place, float(values[place])))
        is_left[place] = False
        np.maximum(nearest, np.clip(vectors @ vectors[place], 0.0, 1.0), out=nearest)
    values = (gains - diversity * nearest).round(6)
    rest = sorted(np.flatnonzero(is_left).tolist(), key=lambda place: -values[place])
    return chosen + [(place, float(values[place])) for place in rest]
