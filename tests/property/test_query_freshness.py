"""Facts may come in any order, twice or never, and forgetting some never makes an answer claim too much."""

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from query_api.shards import freshness
from query_api.shards.freshness import FactIndex, SessionTokens, requirement
from schemas.progress import Position, ProgressFact, ReadToken, decode_token, required_offsets, token_of
from tests.unit.query_api.doubles import lane

POSITIONS = st.builds(
    Position,
    log_id=st.sampled_from(["", "L"]),
    topic=st.just("product-added"),
    partition=st.integers(0, 1),
    offset=st.integers(0, 12),
)
FACTS = st.lists(
    st.builds(
        ProgressFact,
        lane=st.just("main"),
        log_id=st.sampled_from(["L", "K"]),
        topic=st.just("product-added"),
        partition=st.integers(0, 1),
        watermark=st.integers(0, 12),
        reach=st.dictionaries(st.sampled_from(["0", "1"]), st.integers(0, 8)),
    ),
    max_size=20,
)
APPLIED = st.dictionaries(st.integers(0, 1), st.integers(0, 8))


def index_of(facts: list[ProgressFact]) -> FactIndex:
    index = FactIndex()
    for fact in facts:
        index.add(fact)
    return index


def is_met(asked: dict[int, int] | None, applied: dict[int, int]) -> bool:
    return asked is not None and all(applied.get(partition, 0) >= offset for partition, offset in asked.items())


@given(POSITIONS, FACTS, APPLIED)
def test_the_index_says_what_all_facts_say(
    position: Position, facts: list[ProgressFact], applied: dict[int, int]
) -> None:
    """Dropping facts that others imply changes no answer: covered, and met by what is applied."""
    kept = required_offsets(position, index_of(facts).covering(position), applied)
    known = required_offsets(position, facts, applied)
    assert (kept is None) == (known is None)
    assert is_met(kept, applied) == is_met(known, applied)


@given(POSITIONS, FACTS, APPLIED)
def test_forgetting_facts_only_makes_answers_wait(
    position: Position, facts: list[ProgressFact], applied: dict[int, int]
) -> None:
    with mock.patch.object(freshness, "FACTS_MAX", 2):
        kept = required_offsets(position, index_of(facts).covering(position), applied)
    if is_met(kept, applied):
        assert is_met(required_offsets(position, facts, applied), applied)


@given(st.lists(POSITIONS, max_size=4), FACTS, APPLIED)
def test_a_token_needs_all_of_its_positions(
    positions: list[Position], facts: list[ProgressFact], applied: dict[int, int]
) -> None:
    token = token_of(positions)
    found = requirement(token, index_of(facts), lane=lane(), logs={}, applied=applied)
    alone = [
        requirement(ReadToken((position,)), index_of(facts), lane=lane(), logs={}, applied=applied)
        for position in token.positions
    ]
    assert found.is_covered == all(each.is_covered for each in alone)
    for each in alone:
        assert all(found.min_applied[partition] >= offset for partition, offset in each.min_applied.items())


@given(st.lists(st.dictionaries(st.integers(0, 3), st.integers(0, 9)), max_size=6))
def test_a_session_remembers_the_greatest(seen: list[dict[int, int]]) -> None:
    sessions = SessionTokens()
    greatest: dict[int, int] = {}
    for offsets in seen:
        token = token_of(Position("L", "index-log", partition, offset) for partition, offset in offsets.items())
        sessions.remember("t", "s", token)
        if offsets:
            greatest = {key: max(greatest.get(key, 0), offsets.get(key, 0)) for key in greatest | offsets}
        else:
            greatest = {}
    last = sessions.last("t", "s")
    assert {position.partition: position.offset for position in last.positions} == greatest
    assert decode_token(last.encode()) == last
    assert sessions.last("other", "s") == ReadToken()
