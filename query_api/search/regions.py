"""A picture of several objects: where they may be, and a search of its own for each of them."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from query_api.access.identity import Caller
from query_api.query.parts import Crop
from query_api.query.request import Query
from query_api.search.answers import results_of
from query_api.search.deadlines import Step
from schemas.answers import RegionAnswer
from schemas.errors import DeadlineExceeded

if TYPE_CHECKING:
    from query_api.search.pipeline import Searcher


async def searched(
    searcher: "Searcher", caller: Caller, query: Query, step: Step, *, left_ms: Callable[[], float]
) -> list[RegionAnswer]:
    """What is found for each object in the query's picture, the most striking first; none where there is one thing.

    ``step``: what the search has to leave out, by how busy the process was when it began.

    Raises:
        DeadlineExceeded: the time of the search is used up. Others as :meth:`Searcher.search`.
    """
    (picture,) = [part.image for part in query.parts if part.image is not None]
    boxes = await searcher.vectors.regions(picture, timeout_s=_left_s(left_ms))
    found = await asyncio.gather(*(_of_box(searcher, caller, cropped(query, box), step, left_ms) for box in boxes))
    return list(found)


def cropped(query: Query, box: Crop) -> Query:
    """The same query for a part of its picture; facets are counted once, for the whole."""
    parts = tuple(replace(part, crop=box) if part.kind == "image" else part for part in query.parts)
    return replace(query, parts=parts, crop=box, regions=False, facets=())


async def _of_box(
    searcher: "Searcher", caller: Caller, query: Query, step: Step, left_ms: Callable[[], float]
) -> RegionAnswer:
    found = await searcher.vectors.resolve(query, caller.tenant, timeout_s=_left_s(left_ms))
    ranked = await searcher.ranked(caller, query, found, left_ms=left_ms, step=searcher.step(step, left_ms()))
    shown = [] if searcher.is_no_match(query, found, ranked) else ranked.outcome.pool[: query.k]
    assert query.crop is not None
    is_partial = ranked.retrieved.shards.is_partial
    return RegionAnswer(query.crop, results_of(shown, caller.tenant), no_match=not shown and not is_partial)


def _left_s(left_ms: Callable[[], float]) -> float:
    left = left_ms()
    if left <= 0:
        raise DeadlineExceeded("timeout_ms is used up before the picture's regions could be searched for")
    return left / 1000
