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
    return [Ranked(hit, hit.similarity, {"visual": hit.similarity}) for hit in hits[:k]]
