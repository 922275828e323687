"""Geometric verification in its child process: an answer, a crash and a hang."""

import asyncio

import pytest

from query_api.ranking.stages import StageSkipped
from query_api.ranking.verifier import INLIERS_MIN, GeometryProcess
from tests.unit.query_api.ranking.test_geometry import jpeg, scene, turned


async def test_a_child_compares_and_is_started_again_when_it_ended() -> None:
    process = GeometryProcess(timeout_s=30)
    try:
        query, candidates = jpeg(turned(scene(1))), [jpeg(scene(1)), jpeg(scene(2))]
        same, other = await process.inliers(query, None, candidates)
        assert same > INLIERS_MIN > other
        assert process._child is not None
        process._child._process.kill()
        with pytest.raises(StageSkipped, match="could not be compared"):
            await process.inliers(query, None, candidates)
        assert await process.inliers(query, None, candidates) == [same, other]
    finally:
        process.close()


async def test_a_child_that_cannot_start_costs_the_comparison_only() -> None:
    process = GeometryProcess("query_api.ranking.no_such_module")
    try:
        with pytest.raises(StageSkipped):
            await process.inliers(b"x", None, [b"y"])
    finally:
        process.close()


async def test_of_a_rush_few_wait_and_whoever_comes_after_it_is_compared() -> None:
    process = GeometryProcess(timeout_s=30)
    try:
        query, candidates = jpeg(turned(scene(1))), [jpeg(scene(1)), jpeg(scene(2))]
        rush = await asyncio.gather(
            *[process.inliers(query, None, candidates) for _ in range(50)], return_exceptions=True
        )
        skipped = [answer for answer in rush if isinstance(answer, StageSkipped)]
        assert len(skipped) == 50 - 3
        same, other = await process.inliers(query, None, candidates)
        assert same > INLIERS_MIN > other
    finally:
        process.close()
