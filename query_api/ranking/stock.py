"""Out of stock comes last: a rule, whatever the scores say. Pure."""

from query_api.ranking.ranked import Ranked
from query_api.ranking.stages import Asked, Pool


def demote(pool: Pool, asked: Asked) -> Pool:  # noqa: ARG001  # a stage
    """Those out of stock behind all others, each group in its order, their scores shifted to say so."""
    there = [ranked for ranked in pool if ranked.hit.in_stock]
    gone = [ranked for ranked in pool if not ranked.hit.in_stock]
    if not there or not gone:
        return pool
    shift = min(0.0, _least(there) - max(ranked.score for ranked in gone))
    return there + [ranked.plus("stock", shift) for ranked in gone]


def _least(pool: list[Ranked]) -> float:
    return min(ranked.score for ranked in pool)
