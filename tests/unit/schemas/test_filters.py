"""Filters: the JSON that callers write, as a checked tree that travels to nodes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidQuery
from schemas.filters import (
    CHARS_MAX,
    CLAUSES_MAX,
    DEPTH_MAX,
    VALUES_MAX,
    And,
    AnyOf,
    Filter,
    Not,
    Or,
    Range,
    parse_filter,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["not", "any", "all", "gte", "lt", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def test_the_filter_of_the_contract() -> None:
    parsed = parse_filter(
        {
            "category": "dress",
            "price": {"gte": 10, "lt": 50},
            "brand": ["a", "b"],
            "in_stock": True,
            "not": {"color": "red"},
            "any": [{"x": 1}, {"y": 2}],
        }
    )
    assert parsed == And(
        (
            AnyOf("category", ("dress",)),
            Range("price", gte=10, lt=50),
            AnyOf("brand", ("a", "b")),
            AnyOf("in_stock", (True,)),
            Not(AnyOf("color", ("red",))),
            Or((AnyOf("x", (1,)), AnyOf("y", (2,)))),
        )
    )


def test_one_clause_stands_alone_and_an_attribute_may_be_called_any() -> None:
    assert parse_filter({"colour": "red"}) == AnyOf("colour", ("red",))
    assert parse_filter({"any": "red"}) == AnyOf("any", ("red",))
    assert parse_filter({"all": [{"a": 1}, {"b": 2}]}) == And((AnyOf("a", (1,)), AnyOf("b", (2,))))


def test_true_is_not_one() -> None:
    clauses = [Not(AnyOf("a", (value,))) for value in (True, 1, "1")]
    assert len(set(clauses)) == 3
    assert Not(AnyOf("a", (True,))) == clauses[0]
    assert AnyOf("a", (1,)) != Range("a", gte=1)


@pytest.mark.parametrize(
    "value",
    [
        None, [], "x", {}, {"a": None}, {"a": []}, {"a": [None]}, {"a": [[1]]}, {"a": {}}, {"a": {"eq": 1}},
        {"a": {"gte": None}}, {"a": {"gte": True}}, {"a": {"gte": [1]}},
        {"a": {"gte": 1, "lt": "b"}}, {"not": 1}, {"not": {}}, {"any": []},
        {"any": [1]}, {"a": list(range(VALUES_MAX + 1))},
        {f"a{i}": i for i in range(CLAUSES_MAX + 1)},
        {"any": [{f"a{i}": i, f"b{i}": i} for i in range(CLAUSES_MAX // 2 + 1)]},
    ],
)  # fmt: skip
def test_refused_filters(value: object) -> None:
    with pytest.raises(InvalidQuery):
        parse_filter(value)


@pytest.mark.parametrize("seller", [1234567890123456789, -(2**53) - 1, [1, 2**53 + 1], 2**64])
def test_whole_numbers_that_doubles_do_not_tell_apart_are_refused(seller: object) -> None:
    with pytest.raises(InvalidQuery, match="publish such an id as a string"):
        parse_filter({"not": {"seller": seller}})


def test_whole_numbers_that_doubles_hold_are_taken_and_bounds_may_be_larger() -> None:
    assert parse_filter({"seller": [2**53, -(2**53)]}) == AnyOf("seller", (2**53, -(2**53)))
    assert parse_filter({"seller": {"lt": 2**60}}) == Range("seller", lt=2**60)


def nested(levels: int) -> dict[str, object]:
    value: dict[str, object] = {"a": 1}
    for _ in range(levels - 1):
        value = {"not": value}
    return value


def test_the_depth_is_bounded() -> None:
    assert isinstance(parse_filter(nested(DEPTH_MAX)), Not)
    with pytest.raises(InvalidQuery, match="levels"):
        parse_filter(nested(DEPTH_MAX + 1))
    with pytest.raises(InvalidQuery, match="levels"):
        parse_filter(nested(500))


@given(JSON)
def test_any_json_is_a_filter_that_travels_or_is_refused(value: object) -> None:
    try:
        parsed = parse_filter(value)
    except InvalidQuery:
        return
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(parsed), type=Filter) == parsed


def test_a_filter_is_not_longer_than_what_is_remembered_by_it_may_be() -> None:
    ids = [f"{number:04}-{'x' * 700}" for number in range(VALUES_MAX)]
    assert isinstance(parse_filter({"not": {"product_id": ids}}), Not)
    for long in ({"any": [{"a": ids}, {"b": ids}]}, {"a": {"gte": "x" * CHARS_MAX}}, {"x" * (CHARS_MAX + 1): 1}):
        with pytest.raises(InvalidQuery, match="200,000 characters"):
            parse_filter(long)
