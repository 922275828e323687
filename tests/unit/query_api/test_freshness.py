"""Tokens, facts and the cluster's state."""

import asyncio

import pytest

from query_api.shards.cluster import Cluster
from query_api.shards.freshness import FACTS_MAX, FactIndex, SessionTokens, answer_token, requirement
from schemas.clock import SystemClock
from schemas.errors import InvalidQuery, UnknownLogToken
from schemas.progress import Position, ProgressFact, ReadToken
from schemas.shard import ShardState
from tests.unit.query_api.doubles import lane


def fact(watermark: int, reach: dict[str, int], partition: int = 0) -> ProgressFact:
    return ProgressFact("main", "L", "product-added", partition, watermark, reach)


def asked(offset: int, partition: int = 0, log_id: str = "L") -> ReadToken:
    return ReadToken((Position(log_id, "product-added", partition, offset),))


def test_the_first_covering_fact_is_asked_for() -> None:
    facts = FactIndex()
    for number in range(1, 6):
        facts.add(fact(number * 10, {"0": number * 100}))
    found = requirement(asked(25), facts, lane=lane(), logs={}, applied={})
    assert (found.min_applied, found.is_covered) == ({0: 300}, True)
    assert requirement(asked(50), facts, lane=lane(), logs={}, applied={}).is_covered is False


def test_a_fact_that_says_more_replaces_the_others() -> None:
    facts = FactIndex()
    facts.add(fact(10, {"0": 5}))
    facts.add(fact(10, {"0": 5}))
    assert len(facts) == 1
    facts.add(fact(20, {"0": 5}))
    assert len(facts) == 1
    facts.add(fact(30, {"0": 9}))
    assert len(facts) == 2


def test_facts_are_bounded() -> None:
    facts = FactIndex()
    for number in range(FACTS_MAX + 100):
        facts.add(fact(number, {"0": number}))
    assert len(facts) == FACTS_MAX


def test_positions_of_the_index_log_ask_directly() -> None:
    token = ReadToken((Position("I", "index-log", 3, 41),))
    assert requirement(token, FactIndex(), lane=lane(), logs={"index-log": "I"}, applied={}).min_applied == {3: 42}


@pytest.mark.parametrize(
    ("position", "error"),
    [
        (Position("old", "product-added", 0, 1), UnknownLogToken),
        (Position("", "clicks", 0, 1), InvalidQuery),
        (Position("", "product-added", 0, -1), InvalidQuery),
        (Position("", "index-log", 8, 1), InvalidQuery),
    ],
)
def test_positions_that_are_refused(position: Position, error: type[Exception]) -> None:
    with pytest.raises(error):
        requirement(ReadToken((position,)), FactIndex(), lane=lane(), logs={"product-added": "L"}, applied={})


def test_facts_of_one_lane_say_nothing_of_the_other() -> None:
    facts = FactIndex()
    facts.add(fact(100, {"0": 5}))
    token = ReadToken((Position("L", "product-added-hot", 0, 3),))
    assert not requirement(token, facts, lane=lane(), logs={"product-added-hot": "L"}, applied={}).is_covered
    facts.add(ProgressFact("main", "L", "product-added-hot", 0, 4, {"0": 9}))
    found = requirement(token, facts, lane=lane(), logs={"product-added-hot": "L"}, applied={})
    assert (found.min_applied, found.is_covered) == ({0: 9}, True)


def test_the_token_of_an_answer_is_what_was_applied() -> None:
    state = ShardState(shard=0, generation=1, applied={0: 5, 1: 0}, lag_ms=0, stale=False, log_id="I")
    assert answer_token([state]) == ReadToken((Position("I", "index-log", 0, 4),))


def test_a_new_log_begins_a_session_anew() -> None:
    sessions = SessionTokens(sessions_max=1)
    sessions.remember("t", "s", ReadToken((Position("old", "index-log", 0, 9),)))
    sessions.remember("t", "s", ReadToken((Position("new", "index-log", 0, 1),)))
    assert sessions.last("t", "s").positions == (Position("new", "index-log", 0, 1),)
    sessions.remember("t", "another", ReadToken((Position("new", "index-log", 0, 1),)))
    assert sessions.last("t", "s") == ReadToken(), "the oldest session is forgotten"


async def test_waiting_ends_when_the_fact_arrives() -> None:
    cluster = Cluster(lane(), SystemClock(), node_age_max_s=10)
    waiting = asyncio.create_task(cluster.requirement_within(asked(41), 5_000))
    await asyncio.sleep(0)
    cluster.learn(facts=[fact(10, {"0": 1})])
    await asyncio.sleep(0)
    assert not waiting.done()
    cluster.learn(facts=[fact(42, {"0": 7})])
    assert (await asyncio.wait_for(waiting, 2)).min_applied == {0: 7}


async def test_waiting_ends_when_the_time_is_up() -> None:
    cluster = Cluster(lane(), SystemClock(), node_age_max_s=10)
    assert (await cluster.requirement_within(asked(41), 1)).is_covered is False


async def test_facts_of_other_lanes_mean_nothing() -> None:
    cluster = Cluster(lane(), SystemClock(), node_age_max_s=10)
    cluster.learn(facts=[ProgressFact("other", "L", "product-added", 0, 99, {})])
    assert len(cluster.facts) == 0
