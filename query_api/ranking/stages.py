"""Stages with budgets: each turns an ordered pool of candidates into another one, or is left out with a warning."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from time import perf_counter

import msgspec
import structlog

from query_api.ranking.options import RankOptions
from query_api.ranking.ranked import Ranked
from query_api.ranking.settings import RankSettings
from schemas.embeddings import Vector
from schemas.metrics import Metrics

log = structlog.get_logger()

Pool = list[Ranked]
"""Candidates, the best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The query's picture for geometric verification: as it came, or the thumbnail of a product."""

    raw: bytes | None = None
    crop: tuple[float, float, float, float] | None = None
    content_hash: bytes | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that stages may look at beside the pool; nothing in it changes.

    Attributes:
        now_us: microseconds since 1970.
        vector: (dim,) float32 of the query; None for one by filter alone.
        profile: (dim,) float32 of unit norm, what the session clicked on; None: nothing, or nobody may look.
        threshold: the least similarity of a match for this kind of query; None: none.
    """

    tenant: str
    modality: str
    k: int
    now_us: int
    settings: RankSettings
    options: RankOptions
    vector: Vector | None = None
    text: str | None = None
    profile: Vector | None = None
    picture: Picture | None = None
    threshold: float | None = None


class StageSkipped(Exception):
    """Raised by a stage that has nothing to work with or failed; the pool stays as it was, and the answer says why."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of ranking.

    Attributes:
        name: in timings, in warnings and in each result's contributions.
        budget_ms: it is left out when less is left of the search's time.
        run: from pool to pool, at once or awaited.
        is_droppable: False for what is law: it runs however late it is.
    """

    name: str
    budget_ms: float
    run: Callable[[Pool, Asked], Pool | Awaitable[Pool]]
    is_droppable: bool = True


class Outcome(msgspec.Struct):
    """What came of the stages: the pool, milliseconds by stage, and what was left out."""

    pool: Pool
    timings_ms: dict[str, float] = {}
    warnings: list[str] = []


async def run_stages(
    stages: Sequence[Stage],
    pool: Pool,
    asked: Asked,
    *,
    left_ms: Callable[[], float],
    metrics: Metrics,
    skip: Collection[str] = (),
) -> Outcome:
    """Run the stages in order.

    Args:
        left_ms: how much of the search's time is left.
        skip: names of droppable stages that are to be left out.
    """
    outcome = Outcome(pool)
    for stage in stages:
        why = _why_not(stage, left_ms(), skip)
        if not why:
            started = perf_counter()
            why = await _run(stage, outcome, asked, left_ms)
            outcome.timings_ms[f"rank_{stage.name}"] = round((perf_counter() - started) * 1000, 3)
        if why:
            outcome.warnings.append(f"skipped: {stage.name}: {why}")
            metrics.count("freshlens_rank_skipped_total", stage=stage.name)
    return outcome


def _why_not(stage: Stage, left_ms: float, skip: Collection[str]) -> str:
    if not stage.is_droppable:
        return ""
    if stage.name in skip:
        return "to save time"
    return "no time left" if left_ms < stage.budget_ms else ""


async def _run(stage: Stage, outcome: Outcome, asked: Asked, left_ms: Callable[[], float]) -> str:
    """Why the stage changed nothing; empty when it ran."""
    try:
        made = stage.run(outcome.pool, asked)
        if not isinstance(made, list):
            async with asyncio.timeout(max(left_ms(), 1.0) / 1000):
                made = await made
        outcome.pool = made
    except StageSkipped as skipped:
        return str(skipped)
    except TimeoutError:
        return "no time left"
    except Exception:
        if not stage.is_droppable:
            raise
        log.exception("rank stage failed", stage=stage.name, code="internal")
        return "it failed"
    return ""
