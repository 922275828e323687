"""Candidates and questions made by hand."""

import numpy as np

from query_api.ranking.options import RankOptions
from query_api.ranking.ranked import Ranked
from query_api.ranking.settings import RankSettings, Weights
from query_api.ranking.stages import Asked
from schemas.embeddings import Vector, to_fp16
from schemas.shard import ShardHit
from tests.unit.query_api.doubles import vector_of

NOW_US = 1_795_000_000_000_000
DAY_US = 86_400_000_000


def hit(product_id: str, similarity: float = 0.5, *, vector: Vector | None = None, **fields: object) -> ShardHit:
    """A hit; its vector is that of its id unless one is given."""
    raw = to_fp16(vector_of(product_id) if vector is None else vector)
    values = {"source": "main", "version": 1, "vector": raw, **fields}
    return ShardHit(product_id=product_id, similarity=similarity, **values)  # type: ignore[arg-type]


def scored(product_id: str, score: float, **fields: object) -> Ranked:
    """A candidate as it comes from the linear stage."""
    return Ranked(hit(product_id, score, **fields)).plus("visual", score)  # type: ignore[arg-type]


def asked(
    *,
    k: int = 10,
    weights: Weights = Weights(),  # noqa: B008  # frozen
    settings: RankSettings = RankSettings(),  # noqa: B008  # frozen
    diversity: float = 0.0,
    prefer: object = None,
    **fields: object,
) -> Asked:
    """A question by vector."""
    options = RankOptions(weights=weights, diversity=diversity, prefer=prefer)  # type: ignore[arg-type]
    values = {"tenant": "default", "modality": "vector", "vector": vector_of("query"), **fields}
    return Asked(k=k, now_us=NOW_US, settings=settings, options=options, **values)  # type: ignore[arg-type]


def ids(pool: list[Ranked]) -> list[str]:
    """The product ids in order."""
    return [ranked.hit.product_id for ranked in pool]


def is_explained(pool: list[Ranked]) -> bool:
    """Whether scores descend along the pool, and each is the sum of what the stages gave it."""
    scores = [ranked.score for ranked in pool]
    sums = [sum(ranked.stages.values()) for ranked in pool]
    return scores == sorted(scores, reverse=True) and bool(np.allclose(scores, sums, atol=1e-5))
