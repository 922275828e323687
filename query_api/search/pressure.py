"""What a search that begins now has to leave out, by how busy this process is. Pure: the caller says the time."""

import math
from dataclasses import dataclass, field

import msgspec

from query_api.search.deadlines import Step

_WEIGHT = 0.2
"""Of the newest search in the mean: about the last five count, so that a process's slow first one is soon forgotten."""
_SHARE = 0.5
"""Of the target that those in hand may take on average, so that the slow among them stay below it."""
_UNTRIED = 0.5
"""What a step is taken to cost that was not tried lately, as a share of the one before it."""
_LATELY_S = 10.0
"""What a step cost is forgotten after so long without it: what was learnt in a bad moment is learnt again."""


class Turn(msgspec.Struct, frozen=True):
    """A search in hand; ``in_hand`` when it began, itself included, and ``is_alike``: all of them with its step."""

    step: Step
    began_s: float
    in_hand: int
    is_alike: bool


class Cost(msgspec.Struct, frozen=True):
    """Milliseconds of the process that a search takes, and when that was last seen."""

    ms: float
    seen_s: float


@dataclass(slots=True)
class Pressure:
    """Searches in hand, and how much of the process one of them takes at each step.

    They share the process evenly, so one among its like takes its time divided by their number. One among others says
    nothing of its own step: it looks cheap among cheap ones. ``in_hand`` are those that have begun and not ended.
    """

    target_ms: float
    costs: dict[Step, Cost] = field(default_factory=dict)
    in_hand: int = 0
    _by_step: list[int] = field(default_factory=lambda: [0] * len(Step))
    _most: int = 0
    _most_at_s: float = 0.0

    def begin(self, now_s: float) -> Turn:
        """A search begins; its step says what it has to leave out."""
        self.in_hand += 1
        # The most of some time: searches end in waves, and the first of the next one must not take it for calm.
        if self.in_hand >= self._most or (now_s - self._most_at_s) * 1000 > self.target_ms:
            self._most, self._most_at_s = self.in_hand, now_s
        step = Step.NONE if self._most < 2 else self._step_at(now_s)
        self._by_step[step] += 1
        return Turn(step, now_s, self.in_hand, self._by_step[step] == self.in_hand)

    def end(self, turn: Turn, now_s: float) -> None:
        """A search has ended, however it ended."""
        step = turn.step
        if turn.is_alike and self._by_step[step] == self.in_hand:
            taken_ms = (now_s - turn.began_s) * 2000 / (turn.in_hand + self.in_hand)
            known = self.costs.get(step)
            if known is not None and now_s - known.seen_s <= _LATELY_S:
                taken_ms = known.ms + (taken_ms - known.ms) * _WEIGHT
            self.costs[step] = Cost(taken_ms, now_s)
        self._by_step[step] -= 1
        self.in_hand -= 1

    def _step_at(self, now_s: float) -> Step:
        for step in [step for step, cost in self.costs.items() if now_s - cost.seen_s > _LATELY_S]:
            del self.costs[step]
        return self.step

    @property
    def step(self) -> Step:
        """The least with which as many as there lately were are done in time; one alone is no pressure."""
        whole = self.costs.get(Step.NONE)
        if self._most < 2 or (whole is not None and self._most * whole.ms <= _SHARE * self.target_ms):
            return Step.NONE
        for step, cost_ms in zip(Step, self._costs(), strict=True):
            if self._most * cost_ms <= _SHARE * self.target_ms:
                return step
        return Step.PARTIAL

    def _costs(self) -> list[float]:
        """What each step costs; one that is not known half of the one before it, or twice the one after it."""
        known = {step: cost.ms for step, cost in self.costs.items()}
        costs = [known.get(Step.NONE, math.inf if known else 0.0)]
        for step in list(Step)[1:]:
            costs.append(min(costs[-1], known.get(step, costs[-1] * _UNTRIED)))
        for step in reversed(list(Step)[:-1]):
            if step not in known:
                costs[step] = min(costs[step], costs[step + 1] / _UNTRIED)
        return costs
