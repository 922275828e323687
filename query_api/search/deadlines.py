"""What a search leaves out when time runs short or the process is busy: from the end, and never in silence. Pure."""

from enum import IntEnum
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from query_api.ranking.ranker import Plan

EFFORT_HURRIED = 0.5
"""Half of the probes and of the candidates compared: the least of the steps that may cost a result."""


class Budgets(NamedTuple):
    """Milliseconds of each stage; 200 in all for a picture. What is left decides which of them still fit."""

    decode: float = 30.0
    encode: float = 40.0
    retrieve: float = 60.0
    rerank: float = 30.0
    diversity: float = 30.0
    format: float = 10.0

    @property
    def total(self) -> float:
        """Of all stages together."""
        return float(sum(self))


class Step(IntEnum):
    """How far a search is cut down; each step includes those before it."""

    NONE = 0
    RERANK = 1
    DIVERSITY = 2
    PROBES = 3
    PARTIAL = 4

    @property
    def said(self) -> str:
        """What is left out, in words."""
        return _SAID[self]


_STEPS = tuple(each for each in Step if each is not Step.NONE)
_SAID = {
    Step.NONE: "nothing",
    Step.RERANK: "results are in the order of similarity, without the learned model and with fewer candidates",
    Step.DIVERSITY: "results are not spread out, and pictures are not compared point by point",
    Step.PROBES: "the approximate indexes are searched with half the effort",
    Step.PARTIAL: "shards that do not answer at once are not waited for",
}
_SKIPPED = {Step.RERANK: frozenset({"learned"}), Step.DIVERSITY: frozenset({"learned", "geometry", "diversity"})}
_POOL_MIN = 50
"""Candidates that diversity still has to choose from once re-ranking is left out."""


class Cut(msgspec.Struct, frozen=True):
    """What is left out of one search.

    Attributes:
        steps: those that change something for this search, in the order in which they are dropped.
        skip: stages of ranking to leave out.
        effort: the share of the usual work that approximate indexes may do.
        retrieve_ms: how long shards are waited for.
        patience_ms: how long a slow shard is waited for once another has answered; None: as long.
    """

    plan: Plan
    steps: tuple[Step, ...] = ()
    skip: frozenset[str] = frozenset()
    effort: float = 1.0
    retrieve_ms: int = 0
    patience_ms: int | None = None

    @property
    def warnings(self) -> list[str]:
        """One for each step: ``degraded: probes: …``."""
        return [f"degraded: {step.name.lower()}: {step.said}" for step in self.steps] if self.steps else []


def step_by_time(left_ms: float, budgets: Budgets) -> Step:
    """How much has to go so that the rest fits into the time that is left."""
    needed = budgets.format + budgets.retrieve
    if left_ms >= needed + budgets.rerank + budgets.diversity:
        return Step.NONE
    if left_ms >= needed + budgets.diversity:
        return Step.RERANK
    if left_ms >= needed:
        return Step.DIVERSITY
    return Step.PROBES if left_ms >= budgets.format + budgets.retrieve * EFFORT_HURRIED else Step.PARTIAL


def cut(
    plan: Plan,
    step: Step,
    *,
    left_ms: float,
    is_exact: bool,
    may_be_partial: bool = True,
    budgets: Budgets = Budgets(),  # noqa: B008
) -> Cut:
    """The plan of a search cut down.

    Args:
        left_ms: of the search's time.
        is_exact: the caller wants everything compared, and nothing left out.
        may_be_partial: others can answer for a slow shard. Of a single one, or where the caller forbids it, giving up
            on the slow would leave no answer at all.
    """
    waited = left_ms - budgets.format
    if step is Step.NONE or is_exact:
        return Cut(plan, retrieve_ms=max(1, int(waited)))
    if not may_be_partial:
        step = min(step, Step.PROBES)
    leaner, steps = plan, []
    for reached in _STEPS[: step.value]:
        before = leaner
        leaner = _leaner(leaner, reached)
        changes = leaner != before or reached in (Step.PROBES, Step.PARTIAL)
        if changes:
            steps.append(reached)
    patience = int(min(max(waited, 1), budgets.retrieve)) if step is Step.PARTIAL else None
    return Cut(
        leaner,
        tuple(steps),
        _SKIPPED.get(min(step, Step.DIVERSITY), frozenset()),
        EFFORT_HURRIED if step >= Step.PROBES else 1.0,
        max(1, int(waited)),
        patience,
    )


def _leaner(plan: Plan, step: Step) -> Plan:
    """What need not be fetched without this step's stages."""
    match step:
        case Step.RERANK:
            return replace(plan, retrieved=min(plan.retrieved, max(plan.at_least, _POOL_MIN)), is_personal=False)
        case Step.DIVERSITY:
            return replace(plan, retrieved=min(plan.retrieved, plan.at_least), with_vectors=False, may_verify=False)
        case _:
            return plan
