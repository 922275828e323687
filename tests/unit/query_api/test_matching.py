"""One product against one filter, as nodes decide it for all of them."""

import pytest

from query_api.query.matching import failing_clause, in_words, passes
from schemas.filters import parse_filter
from schemas.shard import ShardHit

HIT = ShardHit(
    product_id="p",
    similarity=0.0,
    source="main",
    version=1,
    title="A mug",
    attributes={"color": "red", "tags": ("new", "sale"), "size": 3, "eco": True, "price": "hidden"},
    price=9.5,
    stock=2,
)


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ({"color": "red"}, True),
        ({"color": ["blue", "red"]}, True),
        ({"color": "Red"}, False),
        ({"tags": "sale"}, True),
        ({"tags": ["old"]}, False),
        ({"missing": "x"}, False),
        ({"not": {"missing": "x"}}, True),
        ({"not": {"color": "red"}}, False),
        ({"size": 3}, True),
        ({"size": 3.0}, True),
        ({"eco": True}, True),
        ({"eco": 1}, False),
        ({"size": {"gte": 3, "lt": 4}}, True),
        ({"size": {"gt": 3}}, False),
        ({"color": {"gte": "a", "lte": "s"}}, True),
        ({"color": {"gte": 3}}, False),
        ({"eco": {"gte": 0}}, False),
        ({"missing": {"gte": 0}}, False),
        ({"price": {"lt": 10}}, True),
        ({"in_stock": True}, True),
        ({"title": "A mug", "product_id": "p"}, True),
        ({"any": [{"color": "blue"}, {"size": 3}]}, True),
        ({"all": [{"color": "red"}, {"size": 4}]}, False),
    ],
)
def test_passes(filter_: dict, expected: bool) -> None:
    parsed = parse_filter(filter_)
    assert passes(parsed, HIT) is expected
    assert (failing_clause(parsed, HIT) is None) is expected


def test_clauses_in_words() -> None:
    filter_ = parse_filter({"not": {"a": 1}, "any": [{"b": "x"}, {"c": {"gte": 1, "lt": 2}}]})
    assert in_words(filter_) == "(not (a is 1)) and ((b is 'x') or (c ≥ 1 and < 2))"
