"""Running stages: budgets, what is left out and why, and what is never left out."""

import asyncio

import pytest

from query_api.ranking.ranked import Ranked, ordered
from query_api.ranking.stages import Asked, Outcome, Pool, Stage, StageSkipped, run_stages
from schemas.metrics import RecordingMetrics
from tests.unit.query_api.ranking.made import asked, ids, scored

POOL = [scored("a", 0.9), scored("b", 0.5)]


def reverse(pool: Pool, _: Asked) -> Pool:
    return ordered(ranked.to("reverse", -ranked.score) for ranked in pool)


async def late(pool: Pool, _: Asked) -> Pool:
    await asyncio.sleep(30)
    return pool


def nothing_to_do(pool: Pool, _: Asked) -> Pool:
    raise StageSkipped("there is nothing to do")


def fails(pool: Pool, _: Asked) -> Pool:
    raise RuntimeError("a fault")


async def run(*stages: Stage, left_ms: float = 1_000.0, skip: tuple[str, ...] = ()) -> tuple[Outcome, RecordingMetrics]:
    metrics = RecordingMetrics()
    outcome = await run_stages(
        stages, list(POOL), asked(), left_ms=lambda: left_ms, metrics=metrics, skip=frozenset(skip)
    )
    return outcome, metrics


async def test_stages_run_in_order_and_say_how_long_they_took() -> None:
    async def again(pool: Pool, question: Asked) -> Pool:
        return reverse(pool, question)

    outcome, _ = await run(Stage("one", 1, reverse), Stage("two", 1, again))
    assert ids(outcome.pool) == ["a", "b"]
    assert outcome.timings_ms.keys() == {"rank_one", "rank_two"}
    assert outcome.warnings == []


@pytest.mark.parametrize(
    ("stage", "arguments", "why"),
    [
        (Stage("it", 10, reverse), {"left_ms": 9.0}, "no time left"),
        (Stage("it", 10, reverse), {"skip": ("it",)}, "to save time"),
        (Stage("it", 1, nothing_to_do), {}, "there is nothing to do"),
        (Stage("it", 1, fails), {}, "it failed"),
        (Stage("it", 1, late), {"left_ms": 5.0}, "no time left"),
    ],
)
async def test_what_is_left_out_changes_nothing_and_is_said_and_counted(
    stage: Stage, arguments: dict, why: str
) -> None:
    outcome, metrics = await run(stage, **arguments)
    assert outcome.pool == POOL
    assert outcome.warnings == [f"skipped: it: {why}"]
    assert metrics.values["freshlens_rank_skipped_total", (("stage", "it"),)] == 1


async def test_what_is_law_runs_however_late_it_is() -> None:
    outcome, _ = await run(Stage("law", 10, reverse, is_droppable=False), left_ms=-5.0, skip=("law",))
    assert ids(outcome.pool) == ["b", "a"]
    with pytest.raises(RuntimeError):
        await run(Stage("law", 10, fails, is_droppable=False))


def test_a_score_is_always_the_sum() -> None:
    ranked = Ranked(POOL[0].hit)
    for number in range(50):
        ranked = ranked.plus(f"s{number % 7}", 0.1234567 * number).to("to", 0.3333333)
    assert ranked.score == pytest.approx(sum(ranked.stages.values()), abs=1e-9)
    assert ranked.score == 0.333333
