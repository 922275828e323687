"""The JSON form of a product (DESIGN 13), key by key."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidProduct
from schemas.events import Content, GivenVector, Offer, Picture, ProductAdded
from schemas.framing import PRODUCT_ADDED
from schemas.product_lines import ATTRIBUTES_MAX, TEXT_CHARS_MAX, attribute_value, decode_base64, product_added

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["product_id", "version", "event_time", "title", "description", "image", "images", "videos", "vector", "vectors",
     "price", "currency", "stock", "in_stock", "colour", "sold"]
)  # fmt: skip


def parse(line: object, **over: object) -> ProductAdded:
    arguments: dict[str, object] = {"tenant": "shop", "locate": lambda text: Picture(uri=f"found:{text}"), **over}
    return product_added(line, **arguments)  # type: ignore[arg-type]


def refusal(line: object, **over: object) -> InvalidProduct:
    with pytest.raises(InvalidProduct) as refused:
        parse(line, **over)
    return refused.value


def test_a_whole_line() -> None:
    line = {
        "product_id": "p1", "version": 5, "event_time": 6, "title": "Mug", "description": "blue", "image": "mug.jpg",
        "price": 10, "currency": "EUR", "stock": 3, "in_stock": True, "category": "mug", "rating": 4.5, "new": False,
        "tags": ["a", "b"], "year": 2026,
    }  # fmt: skip
    attributes = {"category": "mug", "new": False, "rating": 4.5, "tags": ("a", "b"), "year": 2026}
    assert parse(line) == ProductAdded(
        "shop", "p1", 5, 6,
        Content("Mug", "blue", attributes, (Picture(uri="found:mug.jpg"),)),
        Offer(10.0, "EUR", 3, True),
    )  # fmt: skip


def test_a_price_alone_leaves_the_content_unchanged() -> None:
    event = parse({"product_id": "p1", "price": 9.5})
    assert event.content is None
    assert event.offer == Offer(price=9.5)


def test_content_alone_leaves_the_offer_unchanged() -> None:
    event = parse({"product_id": "p1", "image": "a.jpg"})
    assert event.offer is None
    assert event.content == Content(pictures=(Picture(uri="found:a.jpg"),))


def test_a_volatile_attribute_is_part_of_the_offer() -> None:
    event = parse({"product_id": "p1", "sold": 12}, volatile=frozenset({"sold"}))
    assert event.content is None
    assert event.offer == Offer(attributes={"sold": 12})


def test_content_without_a_view_must_say_so() -> None:
    assert refusal({"product_id": "p1", "title": "Mug"}).code == "content-without-view"
    assert '"images": []' in refusal({"product_id": "p1", "colour": "red"}).message
    assert parse({"product_id": "p1", "title": "Mug", "images": []}).content == Content("Mug")


@pytest.mark.parametrize("line", [{"product_id": "p1"}, {"product_id": "p1", "version": 4, "event_time": 9}])
def test_an_event_that_changes_nothing(line: dict[str, object]) -> None:
    assert refusal(line).code == "empty-event"


def test_null_values_are_absent_values() -> None:
    event = parse({"product_id": "p1", "title": None, "image": "a.jpg", "colour": None, "price": None})
    assert event.content == Content(pictures=(Picture(uri="found:a.jpg"),))
    assert event.offer == Offer()


def test_the_forms_of_a_picture() -> None:
    data_url = "data:image/png;base64,aGk="
    pictures = ["a.jpg", {"uri": "https://x/y.jpg"}, {"base64": "aGk="}, {"base64": data_url}, data_url]
    content = parse({"product_id": "p1", "images": pictures}).content
    assert content is not None
    assert content.pictures == (
        Picture(uri="found:a.jpg"), Picture(uri="found:https://x/y.jpg"), Picture(inline=b"hi"), Picture(inline=b"hi"),
        Picture(inline=b"hi"),
    )  # fmt: skip


def test_a_video_is_located_as_a_picture_is() -> None:
    content = parse({"product_id": "p1", "videos": ["https://x/y.mp4"]}).content
    assert content is not None
    assert content.videos == ("found:https://x/y.mp4",)
    refused = refusal({"product_id": "p1", "videos": ["y.mp4"]}, locate=lambda text: Picture(inline=b"bytes"))
    assert "a video is an address" in refused.message


def test_the_forms_of_a_vector() -> None:
    content = parse({"product_id": "p1", "vectors": [[1, 0.5], {"space": "s", "values": [1]}]}).content
    assert content is not None
    assert content.vectors == (GivenVector("", (1.0, 0.5)), GivenVector("s", (1.0,)))
    one = parse({"product_id": "p1", "vector": {"values": [1, 2]}}).content
    assert one is not None
    assert one.vectors == (GivenVector("", (1.0, 2.0)),)


@pytest.mark.parametrize(
    "line",
    [
        [], "p1", None,
        {"image": "a.jpg"},
        {"product_id": 7, "image": "a.jpg"},
        {"product_id": "", "image": "a.jpg"},
        {"product_id": "p1", "image": "a", "images": ["b"]},
        {"product_id": "p1", "vector": [1], "vectors": [[1]]},
        {"product_id": "p1", "images": "a"},
        {"product_id": "p1", "image": 7},
        {"product_id": "p1", "image": {"base64": "!"}},
        {"product_id": "p1", "image": "data:image/png;base64,!"},
        {"product_id": "p1", "image": {"base64": 7}},
        {"product_id": "p1", "image": {"uri": "a", "base64": "aGk="}},
        {"product_id": "p1", "videos": [7]},
        {"product_id": "p1", "vector": ["1"]},
        {"product_id": "p1", "vector": [True]},
        {"product_id": "p1", "vector": {"space": 7, "values": [1]}},
        {"product_id": "p1", "vector": {"values": 1}},
        {"product_id": "p1", "price": -1},
        {"product_id": "p1", "price": True},
        {"product_id": "p1", "price": "9"},
        {"product_id": "p1", "price": math.nan},
        {"product_id": "p1", "price": math.inf},
        {"product_id": "p1", "price": 10**400},
        {"product_id": "p1", "vector": [10**400]},
        {"product_id": "p1", "vector": [math.nan]},
        {"product_id": "p1", "in_stock": 1},
        {"product_id": "p1", "stock": 1.5},
        {"product_id": "p1", "stock": 2**63},
        {"product_id": "p1", "version": "5", "price": 1},
        {"product_id": "p1", "version": True, "price": 1},
        {"product_id": "p1", "title": "x" * (TEXT_CHARS_MAX + 1), "image": "a.jpg"},
    ],
)  # fmt: skip
def test_refused_lines(line: object) -> None:
    assert refusal(line).code in ("invalid-product", "invalid-product-id")


@pytest.mark.parametrize("value", [{}, [1], ["a", None], 2**63, -(2**63) - 1, math.inf, math.nan, ["x"] * 257])
def test_refused_attributes(value: object) -> None:
    with pytest.raises(InvalidProduct, match="'colour'") as refused:
        attribute_value("colour", value)
    assert refused.value.code == "invalid-attribute"


def test_an_attribute_keeps_its_json_type() -> None:
    for value in (True, 1, 1.0, "1", -(2**63), 2**63 - 1):
        kept = attribute_value("x", value)
        assert kept == value
        assert type(kept) is type(value)
    assert attribute_value("x", ["1"]) == ("1",)


def test_too_many_attributes() -> None:
    line = {"product_id": "p1", "image": "a.jpg", **{f"a{i}": i for i in range(ATTRIBUTES_MAX + 1)}}
    assert refusal(line).code == "invalid-attribute"


def test_base64_of_a_data_url() -> None:
    assert decode_base64("data:image/svg+xml;base64,aGk=") == b"hi"


@given(st.dictionaries(KEYS, JSON, max_size=5), st.booleans())
def test_any_json_becomes_an_event_that_can_be_sent_or_is_refused(line: dict[str, object], with_id: bool) -> None:
    if with_id:
        line = {**line, "product_id": "p1"}
    try:
        event = parse(line)
    except InvalidProduct:
        return
    assert PRODUCT_ADDED.decode(PRODUCT_ADDED.encode(event), ProductAdded).product_id == "p1"


@pytest.mark.parametrize("attributes", [{"n" * 257: 1}, {"tags": ["x" * 60_000] * 3}])
def test_names_and_lists_of_attributes_are_bounded(attributes: dict[str, object]) -> None:
    with pytest.raises(InvalidProduct) as refused:
        parse({"product_id": "p", "images": [], **attributes})
    assert refused.value.code == "invalid-attribute"
