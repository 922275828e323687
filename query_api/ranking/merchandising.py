"""Applying business rules to a pool of candidates: boosts and buries by score, pins by position. Pure."""

import math
from collections.abc import Iterable

import numpy as np
from msgspec.structs import replace

from query_api.query.matching import passes
from query_api.ranking.ranked import Ranked, ordered, scores_of
from query_api.ranking.rules import ActiveRule
from query_api.ranking.stages import Asked, Pool


def weigh(pool: Pool, rules: Iterable[ActiveRule]) -> Pool:
    """Boosts and buries, as shares of the span between the best and the worst candidate."""
    if not pool:
        return pool
    span = float(np.ptp(scores_of(pool))) or 1.0
    moved = list(pool)
    for each in rules:
        if each.rule.action != "pin":
            amount = span * (each.by if each.rule.action == "boost" else -each.by)
            for place in _touched_by(each, pool):
                moved[place] = _touched(moved[place], each, amount)
    return ordered(moved)


def _touched_by(each: ActiveRule, pool: Pool) -> list[int]:
    products, clause = each.products, each.clause
    return [
        place
        for place, ranked in enumerate(pool)
        if ranked.hit.product_id in products or (clause is not None and passes(clause, ranked.hit))
    ]


def _touched(ranked: Ranked, each: ActiveRule, amount: float) -> Ranked:
    moved = ranked.plus(each.rule.action, amount)
    return replace(moved, rules=(*ranked.rules, each.rule.name))


def pin(pool: Pool, places: dict[str, tuple[int, str]], asked: Asked) -> Pool:
    """Those of the pool that are pinned at their positions, the others in their order around them.

    Only what is in the pool moves, so that a pin brings nothing back; and nothing that is out of stock, where such
    products come last. A pin beyond the end comes last of those in stock.
    """
    is_stock_rule = asked.settings.out_of_stock != "as-is"
    pinned = [each for each in pool if each.hit.product_id in places and (each.hit.in_stock or not is_stock_rule)]
    names = {each.hit.product_id for each in pinned}
    others = [each for each in pool if each.hit.product_id not in names]
    for ranked in sorted(pinned, key=lambda each: places[each.hit.product_id][0]):
        place, name = places[ranked.hit.product_id]
        at = min(place - 1, _end(others) if is_stock_rule else len(others))
        others.insert(at, replace(ranked, rules=(*ranked.rules, name)))
    return _levelled(others, names)


def _end(pool: Pool) -> int:
    """Behind the last one in stock."""
    return max((place for place, each in enumerate(pool, 1) if each.hit.in_stock), default=0)


def _levelled(pool: Pool, names: set[str]) -> Pool:
    """Scores of those pinned brought between their neighbours', so that scores still descend along the answer."""
    above: list[float] = []
    highest = math.inf
    for ranked in pool:
        above.append(highest)
        highest = highest if ranked.hit.product_id in names else ranked.score
    levelled: Pool = []
    below = -math.inf
    for each, most in zip(reversed(pool), reversed(above), strict=True):
        is_pinned = each.hit.product_id in names
        levelled.append(each.to("pin", min(max(each.score, below), most)) if is_pinned else each)
        below = levelled[-1].score
    return levelled[::-1]


def collapse(pool: Pool, asked: Asked) -> Pool:  # noqa: ARG001  # a stage
    """The first of each duplicate group: a product that was pinned stands for those with the same picture."""
    seen: set[bytes] = set()
    kept: Pool = []
    for ranked in pool:
        if not ranked.hit.dup_group or ranked.hit.dup_group not in seen:
            seen.add(ranked.hit.dup_group)
            kept.append(ranked)
    return kept
