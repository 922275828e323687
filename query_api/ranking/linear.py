"""The linear score: α·visual + β·attribute match + γ·personal + δ·fresh, less where pictures belie words. Pure."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from query_api.query.matching import passes
from query_api.ranking.ranked import DIGITS, Ranked, ordered, vectors_of
from query_api.ranking.settings import DAY_US
from query_api.ranking.stages import Asked, Pool
from schemas.filters import And, Filter
from schemas.shard import ShardHit
from schemas.versions import VERSION_US_MIN

_WORD = re.compile(r"\w+")

Values = npt.NDArray[np.float64]


def linear(pool: Pool, asked: Asked) -> Pool:
    """Each candidate's weighted signals. A signal without a weight costs nothing and is not mentioned."""
    weights = asked.options.weights
    others = (
        weights.attributes,
        weights.personal if asked.profile is not None else 0.0,
        weights.fresh,
        weights.agreement,
    )
    if weights.visual == 1.0 and not any(others):  # most searches; nodes round similarities already
        return ordered([Ranked(each.hit, each.hit.similarity, {"visual": each.hit.similarity}) for each in pool])
    signals = zip(_SIGNALS.items(), others, strict=True)
    shares = {name: weight * signal(pool, asked) for (name, signal), weight in signals if weight}
    seen = weights.visual * np.array([ranked.hit.similarity for ranked in pool], np.float64)
    names = ("visual", *shares)
    rows = np.column_stack([seen, *shares.values()]).round(DIGITS)
    totals = rows.sum(axis=1).round(DIGITS).tolist()
    return ordered(
        Ranked(ranked.hit, total, dict(zip(names, row, strict=True)))
        for ranked, total, row in zip(pool, totals, rows.tolist(), strict=True)
    )


def attribute_match(pool: Sequence[Ranked], asked: Asked) -> Values:
    """(n,) 0 to 1: the share of the preferred clauses that pass, and of the query's words in title and attributes.

    Where both are asked for, their mean; 0 where neither is.
    """
    words = set(_WORD.findall((asked.text or "").casefold()))
    parts: list[list[float]] = []
    if asked.options.prefer is not None:
        clauses = clauses_of(asked.options.prefer)
        parts.append([sum(passes(each, ranked.hit) for each in clauses) / len(clauses) for ranked in pool])
    if words:
        parts.append([len(words & words_of(ranked.hit)) / len(words) for ranked in pool])
    shares: Values = np.mean(parts, axis=0) if parts else np.zeros(len(pool))
    return shares


def personal(pool: Sequence[Ranked], asked: Asked) -> Values:
    """(n,) 0 to 1: the cosine with what the session clicked on; unlike it is no worse than unknown."""
    if asked.profile is None:
        return np.zeros(len(pool))
    cosines = vectors_of(pool, len(asked.profile)) @ asked.profile
    near: Values = np.clip(cosines, 0.0, 1.0).astype(np.float64)
    return near


def fresh(pool: Sequence[Ranked], asked: Asked) -> Values:
    """(n,) 0 to 1: halved with every half-life of the content's age; 0 where versions tell no time."""
    half_life_us = asked.settings.fresh_half_life_days * DAY_US
    ages = np.nan_to_num(ages_us(pool, asked.now_us), nan=np.inf)
    left: Values = np.exp2(-ages / half_life_us)
    return left


def disagreement(pool: Sequence[Ranked], asked: Asked) -> Values:  # noqa: ARG001  # as every signal
    """(n,) -1 to 0: below 0 where the picture fits another product's text better; unlooked-at is no worse than good."""
    return np.array([min(0.0, ranked.hit.agreement or 0.0) for ranked in pool], np.float64)


def ages_us(pool: Sequence[Ranked], now_us: int) -> Values:
    """(n,) microseconds since the content's version, at least 0; NaN where versions are sequence numbers."""
    versions = np.array([ranked.hit.content_version for ranked in pool], np.float64)
    return np.where(versions >= VERSION_US_MIN, np.maximum(now_us - versions, 0.0), np.nan)


def clauses_of(wanted: Filter) -> tuple[Filter, ...]:
    """What is wanted, one by one."""
    return wanted.clauses if isinstance(wanted, And) else (wanted,)


def words_of(hit: ShardHit) -> set[str]:
    """The words of title and attributes, in lower case."""
    values: list[Any] = [hit.title or "", *hit.attributes.values()]
    texts = [" ".join(value) if isinstance(value, tuple) else value for value in values]
    return set(_WORD.findall(" ".join(text for text in texts if isinstance(text, str)).casefold()))


_SIGNALS = {"attributes": attribute_match, "personal": personal, "fresh": fresh, "agreement": disagreement}
"""Beside similarity, in the order of their weights."""
