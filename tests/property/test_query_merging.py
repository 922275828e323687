"""Merging the shards' answers is exact: any split of the products gives the top-k of them all (HOLES 21)."""

from hypothesis import given
from hypothesis import strategies as st

from query_api.shards import merging
from schemas.shard import ShardHit

# Few different values: ties are what goes wrong.
HITS = st.lists(
    st.builds(
        ShardHit,
        product_id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=2),
        similarity=st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1.0]),
        source=st.just("main"),
        version=st.integers(1, 4),  # of a price, perhaps, which makes nothing new
        content_version=st.integers(1, 4),
        dup_group=st.sampled_from([b"", b"x", b"y"]),
    ),
    max_size=40,
    unique_by=lambda hit: hit.product_id,
)


def shard_answer(hits: list[ShardHit], k: int, by_similarity: bool) -> list[ShardHit]:
    """What a node returns: its k best, in order."""
    return sorted(hits, key=lambda hit: (order(hit, by_similarity), hit.product_id.encode()))[:k]


def order(hit: ShardHit, by_similarity: bool) -> float:
    return -hit.similarity if by_similarity else -hit.content_version


@given(HITS, st.integers(1, 10), st.lists(st.integers(0, 4), min_size=40, max_size=40), st.booleans())
def test_any_split_gives_the_top_k_of_the_union(
    hits: list[ShardHit], k: int, shards: list[int], by_similarity: bool
) -> None:
    split: dict[int, list[ShardHit]] = {number: [] for number in range(5)}
    for hit, shard in zip(hits, shards, strict=False):
        split[shard].append(hit)
    merged = merging.best(
        [shard_answer(part, k, by_similarity) for part in split.values()], k, by_similarity=by_similarity
    )
    assert merged == shard_answer(hits, k, by_similarity)


@given(HITS, st.integers(1, 10), st.lists(st.integers(0, 4), min_size=40, max_size=40))
def test_any_split_gives_the_top_k_groups_of_the_union(hits: list[ShardHit], k: int, shards: list[int]) -> None:
    def groups(part: list[ShardHit]) -> list[ShardHit]:
        best: dict[object, ShardHit] = {}
        for hit in shard_answer(part, len(part), by_similarity=True):
            best.setdefault(hit.dup_group or hit.product_id, hit)
        return list(best.values())[:k]

    split: dict[int, list[ShardHit]] = {number: [] for number in range(5)}
    for hit, shard in zip(hits, shards, strict=False):
        split[shard].append(hit)
    assert merging.best([groups(part) for part in split.values()], k, collapse=True) == groups(hits)
