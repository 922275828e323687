"""Product-added: what is refused, how views are planned, what the record says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.added import (
    DESCRIPTION_CHARS_MAX,
    Incoming,
    PictureView,
    ReadyView,
    TextView,
    VectorView,
    VideoView,
    index_record,
    plan_views,
    read,
    text_of,
    views_left_out,
)
from schemas import index_log
from schemas.embeddings import Space, to_fp16
from schemas.errors import InvalidRecord
from schemas.events import Content, GivenVector, Offer, Picture, ProductAdded, Source
from schemas.framing import INDEX_LOG, PRODUCT_ADDED
from schemas.identity import ProductKey, partition_of
from schemas.index_log import VIEWS_MAX, IndexLogRecord
from schemas.layout import Layout
from schemas.tenants import TenantDeclaration
from schemas.versions import ResolvedVersion, VersionKind

SPACE = Space("test", 4)
NOW_MS = 1_795_000_000_000
SOURCE = Source("product-added", 3, 41, NOW_MS)
EVENT = ProductAdded("shop", "1", content=Content(title="A mug", pictures=(Picture(inline=b"x"),)))


def declared(tenant: str, kind: VersionKind = VersionKind.MICROSECONDS) -> TenantDeclaration:
    return TenantDeclaration(tenant, kind, {"colour": "string", "size": "integer"})


def read_event(event: ProductAdded, key: bytes | None = None) -> Incoming:
    return read(key, PRODUCT_ADDED.encode(event), SOURCE, declared)


def vector_of(*values: float) -> bytes:
    array = np.array(values, dtype=np.float32)
    return to_fp16(array / np.linalg.norm(array))


IMAGE = ReadyView("image", b"h" * 16, vector_of(1, 0, 0, 0), b"h" * 16, b"p" * 8, "https://x/1")
OTHER = ReadyView("image", b"i" * 16, vector_of(0, 1, 0, 0), b"i" * 16, b"q" * 8)


def record_of(event: ProductAdded, views: tuple[ReadyView, ...] | None, epoch: int = 0) -> IndexLogRecord | None:
    incoming = Incoming(ProductKey("shop", "1"), SOURCE, event, ResolvedVersion(7, 1))
    return index_record(incoming, views, space=SPACE, epoch=epoch, decode_version=1)


def test_a_good_event_is_read_and_its_version_derived_from_the_broker() -> None:
    incoming = read_event(EVENT, b"shop/1")
    assert incoming.key == ProductKey("shop", "1")
    assert incoming.resolved == ResolvedVersion(NOW_MS * 1000, 41)


@pytest.mark.parametrize(
    ("key", "event", "code"),
    [
        (b"shop/2", EVENT, "key-mismatch"),
        (None, ProductAdded("Shop", "1", content=Content()), "invalid-tenant"),
        (None, ProductAdded("shop", "\n", content=Content()), "invalid-product-id"),
        (None, ProductAdded("shop", "1"), "empty-event"),
        (None, ProductAdded("shop", "1", version=7, offer=Offer()), "version-out-of-range"),
        (None, ProductAdded("shop", "1", offer=Offer(price=-1)), "invalid-product"),
        (None, ProductAdded("shop", "1", offer=Offer(price=float("nan"))), "invalid-product"),
        (None, ProductAdded("shop", "1", content=Content(title="x" * 20_001)), "invalid-product"),
        (None, ProductAdded("shop", "1", content=Content(pictures=(Picture(),))), "invalid-product"),
        (None, ProductAdded("shop", "1", content=Content(pictures=(Picture("a", b"b"),))), "invalid-product"),
        (None, ProductAdded("shop", "1", content=Content(attributes={"colour": 3})), "invalid-attribute"),
        (None, ProductAdded("shop", "1", content=Content(attributes={"size": True})), "invalid-attribute"),
        (None, ProductAdded("shop", "1", content=Content(attributes={"x": float("inf")})), "invalid-attribute"),
        (
            None,
            ProductAdded("shop", "1", content=Content(attributes={str(i): i for i in range(129)})),
            "invalid-attribute",
        ),
    ],
)
def test_what_is_refused(key: bytes | None, event: ProductAdded, code: str) -> None:
    with pytest.raises(InvalidRecord) as refused:
        read_event(event, key)
    assert refused.value.code == code


@given(st.one_of(st.none(), st.binary(max_size=200)))
def test_garbage_is_refused_with_a_code(raw: bytes | None) -> None:
    with pytest.raises(InvalidRecord) as refused:
        read(None, raw, SOURCE, declared)
    assert refused.value.code in ("undecodable-record", "unsupported-schema", "schema-registry-not-configured")


def test_a_sequence_tenant_needs_a_version() -> None:
    with pytest.raises(InvalidRecord) as refused:
        read(None, PRODUCT_ADDED.encode(EVENT), SOURCE, lambda tenant: declared(tenant, VersionKind.SEQUENCE))
    assert refused.value.code == "version-missing"


def test_pictures_come_before_vectors_and_views_are_bounded() -> None:
    given = GivenVector("", (3.0, 0.0, 0.0, 0.0))
    content = Content(title="t", pictures=(Picture(uri="u"),) * 15, vectors=(given,) * 3)
    views = plan_views(content, SPACE, can_encode=True)
    assert [type(view) for view in views] == [PictureView] * 15 + [VectorView]
    assert len(views) == VIEWS_MAX
    assert views_left_out(content) == 2
    assert views[-1] == VectorView(vector_of(1, 0, 0, 0))


def test_a_title_is_a_view_only_where_there_is_no_other_and_a_model() -> None:
    assert plan_views(Content(title="A mug"), SPACE, can_encode=True) == (TextView("A mug"),)
    assert plan_views(Content(title="A mug"), SPACE, can_encode=False) == ()
    assert plan_views(Content(), SPACE, can_encode=True) == ()


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (GivenVector("other", (1.0, 0.0, 0.0, 0.0)), "space-mismatch"),
        (GivenVector("", (1.0,)), "invalid-vector"),
        (GivenVector("test", (0.0,) * 4), "invalid-vector"),
        (GivenVector("", (float("nan"), 0.0, 0.0, 1.0)), "invalid-vector"),
    ],
)
def test_vectors_of_another_space_are_refused(given: GivenVector, code: str) -> None:
    with pytest.raises(InvalidRecord) as refused:
        plan_views(Content(vectors=(given,)), SPACE, can_encode=False)
    assert refused.value.code == code


def test_the_record_is_what_every_reader_accepts() -> None:
    event = ProductAdded(
        "shop", "1", content=Content(title="A mug", attributes={"colour": "red"}), offer=Offer(price=3)
    )
    record = record_of(event, (IMAGE, OTHER))
    assert record is not None
    partition = partition_of(record.key, 8)
    assert index_log.read(INDEX_LOG.encode(record), partition=partition, layout=Layout(), space=SPACE) == record


def test_more_usable_views_and_a_later_epoch_are_higher_revisions_of_one_version() -> None:
    one, two = record_of(EVENT, (IMAGE,)), record_of(EVENT, (IMAGE, OTHER))
    later = record_of(EVENT, (IMAGE,), epoch=1)
    assert one is not None
    assert two is not None
    assert later is not None
    assert one.content is not None
    assert two.content is not None
    assert later.content is not None
    assert one.content.rank < two.content.rank < later.content.rank
    assert one.content.rank.version == later.content.rank.version == 7
    assert one.content.views[0].view_hash == two.content.views[0].view_hash != later.content.views[0].view_hash


def test_equal_groups_have_equal_digests_and_others_have_not() -> None:
    def digest(title: str, views: tuple[ReadyView, ...]) -> bytes:
        record = record_of(ProductAdded("shop", "1", content=Content(title=title)), views)
        assert record is not None
        assert record.content is not None
        return record.content.rank.digest

    assert digest("a", (IMAGE,)) == digest("a", (IMAGE,))
    assert len({digest("a", (IMAGE,)), digest("b", (IMAGE,)), digest("a", (OTHER,)), digest("a", (OTHER, IMAGE))}) == 4


def test_while_no_view_is_there_only_the_offer_is_emitted() -> None:
    with_offer = ProductAdded("shop", "1", content=EVENT.content, offer=Offer(price=3))
    record = record_of(with_offer, None)
    assert record is not None
    assert record.content is None
    assert record.offer is not None
    assert record_of(EVENT, None) is None


def test_duplicates_are_labelled_by_the_first_picture() -> None:
    def group(*views: ReadyView) -> bytes:
        record = record_of(EVENT, views)
        assert record is not None
        assert record.content is not None
        return record.content.dup_group

    assert group(IMAGE, OTHER) == b"p" * 8
    vector = ReadyView("vector", b"v", vector_of(1, 1, 0, 0))
    assert group(vector, OTHER) == b"q" * 8
    assert len(group(vector)) == 16
    assert group() == b""


def test_videos_are_planned_last_and_take_the_place_of_a_title() -> None:
    given = GivenVector("", (1.0, 0.0, 0.0, 0.0))
    content = Content(title="A mug", pictures=(Picture(inline=b"x"),), vectors=(given,), videos=("https://x/1.mp4",))
    kinds = [type(view) for view in plan_views(content, SPACE, can_encode=True)]
    assert kinds == [PictureView, VectorView, VideoView]
    only = plan_views(Content(title="A mug", videos=("https://x/1.mp4",)), SPACE, can_encode=True)
    assert only == (VideoView("https://x/1.mp4"),)


def test_videos_beyond_the_most_views_are_left_out() -> None:
    content = Content(pictures=(Picture(inline=b"x"),) * (VIEWS_MAX - 1), videos=("https://x/1.mp4", "https://x/2.mp4"))
    assert [type(view) for view in plan_views(content, SPACE, can_encode=True)][-2:] == [PictureView, VideoView]
    assert views_left_out(content) == 1


def test_the_address_of_a_video_has_a_limit() -> None:
    with pytest.raises(InvalidRecord, match="uri"):
        read_event(ProductAdded("shop", "1", content=Content(videos=("https://x/" + "y" * 5000,))))


def test_frames_are_told_apart_and_carry_their_time_and_flags() -> None:
    event = ProductAdded("shop", "1", content=Content(videos=("https://x/1.mp4",)))
    frames = tuple(
        ReadyView(
            "frame",
            b"v" * 16,
            vector_of(1, number, 0, 0),
            phash=b"p" * 8,
            frame=number,
            timestamp_ms=500 * number,
            flags=("dark",),
        )
        for number in range(2)
    )
    record = record_of(event, frames)
    assert record is not None
    assert record.content is not None
    first, second = record.content.views
    assert first.view_hash != second.view_hash
    assert (second.kind, second.timestamp_ms, second.flags) == ("frame", 500, ("dark",))
    assert record.content.dup_group == b"p" * 8


def test_a_text_view_says_the_telling_first_and_nothing_twice() -> None:
    attributes = {"size": "L", "color": ("red", "white"), "brand": "Acme", "category": "mug", "weight": 3}
    content = Content(title="Acme mug", description="Holds a lot. " * 200, attributes=attributes)
    text = text_of(content)
    assert text.startswith("Acme mug, red, white, Holds a lot.")
    assert len(text) <= len("Acme mug, red, white, ") + DESCRIPTION_CHARS_MAX
    assert plan_views(content, SPACE, can_encode=True) == (TextView(text),)
    assert plan_views(content, SPACE, can_encode=False) == ()
