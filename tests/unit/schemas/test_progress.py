"""Read tokens, and what a reader must have applied (HOLES 10)."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidQuery
from schemas.progress import Position, ProgressFact, ReadToken, decode_token, required_offsets, token_of

positions = st.builds(
    Position,
    log_id=st.sampled_from(["", "c:t"]),
    topic=st.sampled_from(["product-added", "product-deleted"]),
    partition=st.integers(0, 2),
    offset=st.integers(0, 2**40),
)


def fact(watermark: int, reach: dict[str, int], *, partition: int = 0, log_id: str = "c:t") -> ProgressFact:
    return ProgressFact("main", log_id, "product-added", partition, watermark, reach)


@given(st.lists(positions, max_size=6))
def test_a_token_is_opaque_safe_in_urls_and_reads_back(many: list[Position]) -> None:
    token = token_of(many)
    text = token.encode()
    assert text.isascii()
    assert not set(text) & set("+/=&? ")
    assert decode_token(text) == token


@given(st.lists(positions, max_size=6))
def test_a_token_keeps_the_greatest_offset_of_each_partition(many: list[Position]) -> None:
    kept = token_of(many).positions
    by_place: dict[tuple[str, str, int], list[int]] = {}
    for position in many:
        by_place.setdefault((position.log_id, position.topic, position.partition), []).append(position.offset)
    assert [(p.log_id, p.topic, p.partition, p.offset) for p in kept] == [
        (*place, max(offsets)) for place, offsets in sorted(by_place.items())
    ]


@pytest.mark.parametrize("text", ["!", "abc", "%%%", "gqE=", ReadToken().encode() + "A", "é"])
def test_another_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidQuery):
        decode_token(text)


@given(st.text(max_size=20))
def test_any_text_is_a_token_or_is_refused(text: str) -> None:
    try:
        token = decode_token(text)
    except InvalidQuery:
        return
    assert isinstance(token, ReadToken)


POSITION = Position("c:t", "product-added", 0, 10)


def test_a_fact_covers_a_position_below_its_watermark_only() -> None:
    assert required_offsets(POSITION, [fact(11, {"3": 7})], {}) == {3: 7}
    assert required_offsets(POSITION, [fact(10, {"3": 7})], {}) is None
    assert required_offsets(POSITION, [fact(99, {"3": 7}, partition=1)], {}) is None
    assert required_offsets(POSITION, [], {}) is None


def test_a_fact_of_another_log_says_nothing_unless_the_token_names_none() -> None:
    other = fact(99, {"3": 7}, log_id="c:recreated")
    assert required_offsets(POSITION, [other], {}) is None
    assert required_offsets(Position("", "product-added", 0, 10), [other], {}) == {3: 7}


def test_the_fact_that_asks_least_beyond_what_is_applied_is_chosen() -> None:
    early, late = fact(11, {"0": 5, "1": 100}), fact(20, {"0": 50, "1": 101})
    assert required_offsets(POSITION, [late, early], {0: 4, 1: 99}) == early.reach_by_partition
    assert required_offsets(POSITION, [late], {}) == late.reach_by_partition


@pytest.mark.parametrize(
    "place", [{0: 2**64 - 1}, {0: 2**63 - 1}, {-1: 0}, {2**31: 0}, {0: -1}], ids=["64", "63", "negative", "31", "below"]
)
def test_a_token_with_a_place_that_no_log_has_is_refused(place: dict[int, int]) -> None:
    packed = msgspec.msgpack.encode([("", "index-log", place)])
    with pytest.raises(InvalidQuery):
        decode_token(base64.urlsafe_b64encode(packed).decode())
