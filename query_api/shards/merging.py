"""Merging what shards answer: exact, because a product lives in one shard and each returns its k best (HOLES 21)."""

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice

from schemas.shard import ShardHit


def best(
    answers: Sequence[Sequence[ShardHit]], k: int, *, by_similarity: bool = True, collapse: bool = False
) -> list[ShardHit]:
    """The k best hits over all shards; ties fall to the product_id, so that equal scores do not flicker.

    Args:
        answers: each shard's hits in order: by similarity, or newest content first, then by product_id.
        k: how many to keep.
        by_similarity: False for searches without a vector, which answer newest first.
        collapse: keep the best of each duplicate group only, as each shard did.
    """
    if len(answers) == 1:  # in order already
        alone = answers[0]
        return list(islice(_collapsed(alone), k)) if collapse else list(alone[:k])
    hits: Iterator[ShardHit] = merge(*answers, key=_by_similarity if by_similarity else _newest_first)
    return list(islice(_collapsed(hits) if collapse else hits, k))


def _collapsed(hits: Iterable[ShardHit]) -> Iterator[ShardHit]:
    seen: set[bytes] = set()
    for hit in hits:
        if not hit.dup_group or hit.dup_group not in seen:
            seen.add(hit.dup_group)
            yield hit


def _by_similarity(hit: ShardHit) -> tuple[float, bytes]:
    return -hit.similarity, hit.product_id.encode()


def _newest_first(hit: ShardHit) -> tuple[float, bytes]:
    return -hit.content_version, hit.product_id.encode()
