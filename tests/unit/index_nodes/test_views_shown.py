"""What a look-up tells of views: kinds, times in videos, flags; from the tail and from a generation alike."""

from msgspec.structs import replace

from index_nodes.views.search import product
from schemas.shard import ShardProduct, ShardView
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index


def test_frames_flags_and_agreement_are_told_before_and_after_a_compaction(index: Index) -> None:
    plain = records.content("p", 1, [records.picture(0), records.picture(1)])
    assert plain.content is not None
    first, second = plain.content.views
    views = (
        replace(first, kind="image", flags=("small", "dark")),
        replace(second, kind="frame", timestamp_ms=1500, phash=b"p" * 8),
    )
    index.apply(replace(plain, content=replace(plain.content, views=views, agreement=0.25)))

    def told() -> ShardProduct:
        found = product(index.view, "default", "p", with_vectors=False)
        assert found is not None
        return found

    expected = (
        ShardView(kind="image", flags=("small", "dark")),
        ShardView(kind="frame", timestamp_ms=1500, phash=b"p" * 8),
    )
    tail = told()
    assert tail.views == expected
    assert tail.hit is not None
    assert tail.hit.agreement == 0.25
    index.compact_and_swap()
    main = told()
    assert main.views == expected
    assert main.hit is not None
    assert (main.hit.agreement, main.hit.source) == (0.25, "main")
    index.apply(records.delete("p", 2))
    assert told().views == ()
