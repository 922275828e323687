"""What is left out when time runs short or many wait: in one order, said, and counted."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from query_api.ranking.ranker import Plan
from query_api.ranking.rules import RuleSet
from query_api.search.deadlines import Budgets, Step, cut, step_by_time
from query_api.search.pressure import Cost, Pressure
from schemas.shard import ShardSearch
from tests.unit.query_api.doubles import Api, running_api, vector_of
from tests.unit.query_api.test_search import search

FULL = Plan(
    retrieved=500,
    at_least=10,
    with_vectors=True,
    rule_set=RuleSet(tenant="default", version=0),
    is_personal=True,
    may_verify=True,
)
LEAN = Plan(retrieved=10, at_least=10, rule_set=RuleSet(tenant="default", version=0))


def test_the_budgets_of_a_picture_are_200_ms() -> None:
    assert Budgets().total == 200


@pytest.mark.parametrize(
    ("left_ms", "step"),
    [
        (5_000, Step.NONE),
        (130, Step.NONE),
        (129, Step.RERANK),
        (99, Step.DIVERSITY),
        (69, Step.PROBES),
        (39, Step.PARTIAL),
    ],
)
def test_steps_by_time(left_ms: float, step: Step) -> None:
    assert step_by_time(left_ms, Budgets()) is step


def test_each_step_includes_those_before_it() -> None:
    cuts = [cut(FULL, step, left_ms=1_000, is_exact=False) for step in Step]
    assert [each.steps for each in cuts] == [tuple(list(Step)[1 : number + 1]) for number in range(5)]
    assert [each.plan.retrieved for each in cuts] == [500, 50, 10, 10, 10]
    assert [each.plan.with_vectors for each in cuts] == [True, True, False, False, False]
    assert [sorted(each.skip) for each in cuts] == [
        [], ["learned"], *[["diversity", "geometry", "learned"]] * 3
    ]  # fmt: skip
    assert [each.effort for each in cuts] == [1.0, 1.0, 1.0, 0.5, 0.5]
    assert [each.retrieve_ms for each in cuts] == [990] * 5
    assert [each.patience_ms for each in cuts] == [None, None, None, None, 60]


def test_only_what_changes_something_is_said() -> None:
    assert cut(LEAN, Step.DIVERSITY, left_ms=100, is_exact=False).warnings == []
    (warning,) = cut(LEAN, Step.PROBES, left_ms=100, is_exact=False).warnings
    assert warning.startswith("degraded: probes: ")
    for step in Step:
        exact = cut(FULL, step, left_ms=100, is_exact=True)
        assert (exact.plan, exact.steps, exact.skip, exact.effort, exact.patience_ms) == (
            FULL,
            (),
            frozenset(),
            1.0,
            None,
        )


def test_a_shard_that_nobody_can_stand_in_for_is_waited_for() -> None:
    waiting = cut(LEAN, Step.PARTIAL, left_ms=1_000, is_exact=False, may_be_partial=False)
    assert (waiting.retrieve_ms, waiting.steps, waiting.effort) == (990, (Step.PROBES,), 0.5)


def test_law_is_never_dropped() -> None:
    lawful = replace(FULL, pins={"p": (1, "campaign")}, collapse=True)
    leanest = cut(lawful, Step.PARTIAL, left_ms=5, is_exact=False).plan
    assert (leanest.pins, leanest.collapse, leanest.filter) == (lawful.pins, True, lawful.filter)


def pressed(**costs_ms: float) -> Pressure:
    """What was seen at second 0, in a process that should answer within 200 ms."""
    return Pressure(200, {Step[name.upper()]: Cost(ms, 0.0) for name, ms in costs_ms.items()})


class TestPressure:
    def test_one_at_a_time_is_none_however_long_it_takes(self) -> None:
        pressure = Pressure(200)
        for began in range(5):
            turn = pressure.begin(began * 10.0)
            assert turn.step is Step.NONE
            pressure.end(turn, began * 10.0 + 3)
        assert pressure.costs[Step.NONE].ms == pytest.approx(3_000)

    def test_those_in_hand_share_the_process(self) -> None:
        pressure = Pressure(200)
        turns = [pressure.begin(0.0) for _ in range(4)]
        assert {turn.step for turn in turns} == {Step.NONE}, "nothing is known yet"
        for number, turn in enumerate(reversed(turns)):
            pressure.end(turn, 0.01 * (4 - number))
        steps = [pressure.begin(1.0).step for _ in range(100)]
        assert steps == sorted(steps)
        assert [steps.count(step) for step in Step] == [10, 10, 20, 40, 20], "each is taken to cost half of the last"

    def test_what_a_step_costs_decides(self) -> None:
        pressure = pressed(none=25.0, rerank=24.0, diversity=2.0)
        assert [pressure.begin(0.0).step for _ in range(20)] == [Step.NONE] * 4 + [Step.DIVERSITY] * 16

    def test_a_step_that_was_passed_over_is_tried_once_the_next_proves_cheap(self) -> None:
        pressure = pressed(none=16.0, probes=0.5)
        steps = [pressure.begin(0.0).step for _ in range(200)]
        assert [steps.count(step) for step in Step] == [6, 44, 50, 100, 0], "0.5 ms, so 1 ms before it, and 2 ms before"

    def test_what_was_learnt_in_a_bad_moment_is_learnt_again(self) -> None:
        pressure = pressed(none=10.0, rerank=9.0, diversity=2.0)
        assert [pressure.begin(5.0).step for _ in range(20)][-1] is Step.DIVERSITY
        pressure.costs[Step.DIVERSITY] = Cost(2.0, 10.0)
        assert pressure.begin(11.0).step is Step.RERANK, "taken to cost 4 ms, and not 9"

    def test_nothing_is_learnt_from_searches_among_others_than_their_like(self) -> None:
        pressure = pressed(none=60.0, rerank=1.0)
        first, second = pressure.begin(0.0), pressure.begin(0.0)
        assert (first.step, second.step) == (Step.NONE, Step.RERANK)
        pressure.end(first, 9.0)
        pressure.end(second, 9.0)
        assert {step: cost.ms for step, cost in pressure.costs.items()} == {Step.NONE: 60.0, Step.RERANK: 1.0}

    def test_with_fewer_in_hand_nothing_is_left_out_again(self) -> None:
        pressure = pressed(none=25.0, rerank=5.0)
        turns = [pressure.begin(0.0) for _ in range(6)]
        assert turns[-1].step is Step.RERANK
        for turn in turns[1:]:
            pressure.end(turn, 0.1)
        assert pressure.in_hand == 1
        assert pressure.begin(0.2).step is Step.RERANK, "this may be the first of another wave"
        assert pressure.begin(0.5).step is Step.NONE


async def test_a_short_time_is_said_and_counted(api: Api) -> None:
    answer = await search(api, vector=vector_of("a").tolist(), timeout_ms=50)
    assert [warning.split(":")[1].strip() for warning in answer["warnings"]] == ["probes"]
    assert api.metrics.values["freshlens_degraded_total", (("step", "probes"),)] == 1
    asked = api.shard.asked[-1]
    assert isinstance(asked, ShardSearch)
    assert (asked.effort, asked.timeout_ms) == (0.5, 40)
    assert len(answer["results"]) == 3
    answer = await search(api, vector=vector_of("a").tolist(), timeout_ms=20)
    only_shard = [warning.split(":")[1].strip() for warning in answer["warnings"]]
    assert only_shard == ["probes"], "without it there would be no answer at all"


async def test_a_busy_process_retrieves_less(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        pressure = api.searcher.pressure
        body = {"vector": vector_of("a").tolist(), "diversity": 0.5}
        assert (await search(api, **body))["warnings"] == []
        full = api.shard.asked[-1]
        pressure.costs = pressed(none=40.0).costs
        for _ in range(9):
            pressure.begin(0.0)
        answer = await search(api, **body)
        hurried = api.shard.asked[-1]
        assert [warning.split(":")[1].strip() for warning in answer["warnings"] if "degraded" in warning] == [
            "rerank",
            "diversity",
        ]
        assert isinstance(full, ShardSearch)
        assert isinstance(hurried, ShardSearch)
        assert (full.k, full.with_vectors) == (500, True)
        assert (hurried.k, hurried.with_vectors) == (10, False)
        assert pressure.in_hand == 9, "each that began has ended"


async def test_a_failed_search_is_no_longer_in_hand(api: Api) -> None:
    api.shard.is_dead = True
    await search(api, 503, vector=vector_of("a").tolist())
    assert api.searcher.pressure.in_hand == 0
