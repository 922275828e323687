"""Many searches in one request, each with the answer or the problem that it would have alone."""

import asyncio
from typing import Annotated

import msgspec
import structlog
from aiohttp import web
from msgspec import Meta

from query_api.access.identity import Caller, caller_of
from query_api.access.keys import PARTS, SEARCHER, answer, read_json
from query_api.problems import problem_of
from query_api.query.request import SearchBody, query_of_json
from query_api.routes.search import respecting
from schemas.answers import BatchAnswer, BatchItem
from schemas.errors import FreshlensError

log = structlog.get_logger()

SEARCHES_MAX = 64
_AT_ONCE = 32


class BatchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to 64 searches, each with the fields of a search."""

    searches: Annotated[
        list[SearchBody],
        Meta(
            min_length=1,
            max_length=SEARCHES_MAX,
            description="Each with the fields of a search.",
            examples=[[{"text": "red dress", "k": 1}, {"product_id": "dress-7"}]],
        ),
    ]


class _Undecoded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A BatchBody whose searches are decoded one by one, so that a wrong one keeps none of the others back."""

    searches: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=SEARCHES_MAX)]


_batches = msgspec.json.Decoder(_Undecoded)


async def batch(request: web.Request) -> web.Response:
    """``POST /v1/search/batch``: one that is refused keeps none of the others back."""
    caller = caller_of(request)
    body = await read_json(request, _batches)
    items: dict[int, BatchItem] = {}
    waiting = iter(enumerate(body.searches))

    async def some() -> None:
        # One after another, not a task for each: a search that has nothing to wait for costs little more than one.
        for place, search in waiting:
            items[place] = await _item(request, caller, search)

    await asyncio.gather(*(some() for _ in range(min(_AT_ONCE, len(body.searches)))))
    return answer(BatchAnswer([items[place] for place in range(len(items))]))


async def _item(request: web.Request, caller: Caller, raw: msgspec.Raw) -> BatchItem:
    try:
        query = respecting(request, query_of_json(bytes(raw), request.app[PARTS].settings))
        query = msgspec.structs.replace(query, in_company=True)
        return BatchItem(200, answer=await request.app[SEARCHER].search(caller, query))
    except FreshlensError as error:
        problem = problem_of(error)
        if problem.status == 500:
            log.exception("search failed", code=error.code)
        return BatchItem(problem.status, problem=problem)
