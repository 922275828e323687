"""From similar to shown: the rank stages, pure. Now the score is the similarity; further stages are added here."""

from collections.abc import Sequence
from typing import NamedTuple

from schemas.shard import ShardHit


class Ranked(NamedTuple):
    """A hit with its final score, and what each stage contributed to it."""

    hit: ShardHit
    score: float
    stages: dict[str, float]


def rank(hits: Sequence[ShardHit], k: int) -> list[Ranked]:
    """The k best of the retrieved hits, best first.

    Args:
        hits: as merged: by similarity descending, then product_id; or newest first.
        k: how many are shown.
    """
    return [_ranked(hit) for hit in hits[:k]]


def _ranked(hit: ShardHit) -> Ranked:
    # Vectors rest as fp16, so that a product and itself may come out a little above 1.
    visual = min(hit.similarity, 1.0)
    return Ranked(hit, visual, {"visual": visual})
