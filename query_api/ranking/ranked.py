"""A candidate on its way through the stages: its score is always the sum of what the stages gave it."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from schemas.embeddings import Vector
from schemas.shard import ShardHit

_SCORE = attrgetter("score")
DIGITS = 6
"""What a vector's 16 bits cannot tell apart must not order anything."""


class Ranked(msgspec.Struct, frozen=True):
    """A hit with its score, and what each stage contributed to it.

    Attributes:
        stages: by name; they add up to the score.
        rules: names of the business rules that touched it.
        inliers: points of its picture that lie as in the query's; None: not compared.
    """

    hit: ShardHit
    score: float = 0.0
    stages: Mapping[str, float] = MappingProxyType({})
    rules: tuple[str, ...] = ()
    inliers: int | None = None

    def plus(self, stage: str, amount: float) -> "Ranked":
        """With a contribution more."""
        amount = round(amount, DIGITS)
        stages = {**self.stages, stage: round(self.stages.get(stage, 0.0) + amount, DIGITS)}
        return replace(self, score=round(self.score + amount, DIGITS), stages=stages)

    def to(self, stage: str, score: float) -> "Ranked":
        """With another score, the difference being this stage's contribution."""
        return self.plus(stage, score - self.score)


def ordered(pool: Iterable[Ranked]) -> list[Ranked]:
    """By score; equal scores keep the order they had, so that equal requests are answered equally."""
    return sorted(pool, key=_SCORE, reverse=True)


def scores_of(pool: Sequence[Ranked]) -> npt.NDArray[np.float64]:
    """(n,) float64."""
    return np.array([ranked.score for ranked in pool], np.float64)


def vectors_of(pool: Sequence[Ranked], dim: int) -> Vector:
    """(n, dim) float32 of unit norm; a row of zeros for a hit that came without a vector."""
    nothing = bytes(2 * dim)
    raw = b"".join(ranked.hit.vector if len(ranked.hit.vector) == 2 * dim else nothing for ranked in pool)
    return np.frombuffer(raw, "<f2").reshape(len(pool), dim).astype(np.float32)
