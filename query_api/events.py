"""``GET /v1/events``: how fresh the index is, as server-sent events, so that a page can watch its product arrive."""

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from query_api.access.identity import Caller, caller_of
from query_api.access.keys import CLOSING, PARTS
from query_api.parts import Parts
from query_api.shards.cluster import within
from schemas.answers import ShardCount
from schemas.errors import Backpressure

STREAMS = web.AppKey("streams", set[asyncio.Task[Any]])
_KEEP_ALIVE_S = 15.0
_QUIET_S = 0.2
"""At most five events a second: a page need not redraw more often."""


class FreshnessEvent(msgspec.Struct, frozen=True):
    """The index as nodes last reported it: products, next offsets applied, and how many shards are served.

    ``products`` counts those of all tenants, and is null for a key of one tenant.
    """

    products: int | None
    applied: dict[str, int]
    shards: ShardCount


async def events(request: web.Request) -> web.StreamResponse:
    """One event at once, then one whenever something changed; a comment every 15 s keeps the connection.

    It ends when the key does: what comes after a revocation is not sent any more.
    """
    caller = caller_of(request)
    streams, closing = request.app[STREAMS], request.app[CLOSING]
    if len(streams) >= request.app[PARTS].settings.limits.event_streams_max:
        raise Backpressure("too many event streams are open; poll /v1/status instead")
    task = asyncio.current_task()
    assert task is not None
    streams.add(task)
    try:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        await _follow(response, request.app[PARTS], caller, closing)
    except (ConnectionResetError, asyncio.CancelledError):
        if not closing.is_set() and task.cancelling():
            raise
    finally:
        streams.discard(task)
    return response


async def end_streams(app: web.Application) -> None:
    """Before a stop: let every stream end, or each would hold the stop up until its time limit."""
    app[CLOSING].set()
    for task in app[STREAMS]:
        task.cancel()


async def _follow(response: web.StreamResponse, parts: Parts, caller: Caller, closing: asyncio.Event) -> None:
    cluster = parts.cluster
    last: FreshnessEvent | None = None
    while not closing.is_set() and _may_still(parts, caller):
        change = cluster.next_change()
        now = event_of(parts, with_products=caller.sees_all)
        if now != last:
            await response.write(b"event: freshness\ndata: " + msgspec.json.encode(now) + b"\n\n")
            last = now
        await asyncio.sleep(_QUIET_S)
        if not await within(change, _KEEP_ALIVE_S):
            await response.write(b": still here\n\n")


def _may_still(parts: Parts, caller: Caller) -> bool:
    if caller.key_id is None:  # it began when there were no keys, and has to end when there are
        return parts.keys.is_empty
    return parts.keys.is_valid(caller.key_id, parts.clock.now_us())


def event_of(parts: Parts, *, with_products: bool) -> FreshnessEvent:
    """What there is to say now."""
    cluster, shards = parts.cluster, parts.cluster.lane.layout.shards
    served = sum(map(parts.is_served, range(shards)))
    applied = {str(partition): offset for partition, offset in sorted(cluster.routes.applied().items())}
    products = cluster.routes.products() if with_products else None
    return FreshnessEvent(products, applied, ShardCount(served, shards))
