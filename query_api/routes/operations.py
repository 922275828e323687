"""Routes of operators and analysts: health, readiness, metrics, status, search quality."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from query_api.access.identity import caller_of
from query_api.access.keys import PARTS, SEARCHER, STARTED_AT, answer
from query_api.parts import Parts
from query_api.query.request import convert_parameters
from query_api.search import answers
from query_api.shards.scatter import Answers
from schemas.answers import EncoderReport, NodeReport, QualityAnswer, Ready, ShardCount, StatusAnswer
from schemas.errors import EncoderUnavailable, ShardUnavailable
from schemas.shard import ShardLookup, ShardProducts, ShardState

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class QualityParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many windows, newest first."""

    windows: Annotated[int, Meta(ge=1, le=1_440, description="How many, newest first.", examples=[60])] = 60


async def healthz(_: web.Request) -> web.Response:
    """``GET /healthz``: this process answers."""
    return answer({"ok": True})


async def readyz(request: web.Request) -> web.Response:
    """``GET /readyz``: every shard is served and the encoder answers; 503 while not, saying what is missing."""
    parts = request.app[PARTS]
    shards = range(parts.settings.lane.layout.shards)
    missing = [f"shard {shard}" for shard in shards if not parts.is_served(shard)]
    if (await _encoder(parts)).state == "unavailable":
        missing.append("encoder")
    return answer(Ready(not missing, missing), status=503 if missing else 200)


async def metrics(request: web.Request) -> web.Response:
    """``GET /metrics``: for Prometheus."""
    return web.Response(body=request.app[PARTS].render_metrics(), headers={"Content-Type": _METRICS_TYPE})


async def status(request: web.Request) -> web.Response:
    """``GET /v1/status``: nodes, what they applied, how far behind they are, how many products.

    What counts all tenants together is left out for a key of one of them.
    """
    parts, sees_all = request.app[PARTS], caller_of(request).sees_all
    lane = parts.settings.lane
    states, count = await _states(request)
    return answer(
        StatusAnswer(
            lane=lane.name,
            space=str(lane.space),
            layout=lane.layout.layout_id,
            products=parts.cluster.routes.products() if sees_all else None,
            lag_ms=max((state.lag_ms for state in states), default=None),
            shards=count,
            freshness=answers.freshness_of(states),
            nodes=_nodes(parts) if sees_all else [],
            encoder=await _encoder(parts),
            facts=len(parts.cluster.facts) if sees_all else None,
            uptime_s=round(parts.clock.monotonic() - request.app[STARTED_AT], 1),
        )
    )


async def search_quality(request: web.Request) -> web.Response:
    """``GET /v1/search-quality``: windows of clicks by position, zero results and conversion."""
    caller = caller_of(request)
    limit = convert_parameters(request.query, QualityParameters).windows
    return answer(QualityAnswer(list(request.app[PARTS].quality.windows(caller.tenant, limit))))


async def _states(request: web.Request) -> tuple[Sequence[ShardState], ShardCount]:
    lane = request.app[PARTS].settings.lane
    caller = caller_of(request)
    question = ShardLookup(lane=lane.name, layout_id=lane.layout.layout_id, tenant=caller.tenant, product_ids=())
    try:
        found: Answers[ShardProducts] = await request.app[SEARCHER].scatter.lookup(question)
    except ShardUnavailable:
        return (), ShardCount(0, lane.layout.shards)
    return [each.state for each in found.answers], ShardCount(found.answered, found.total)


async def _encoder(parts: Parts) -> EncoderReport:
    space = str(parts.settings.lane.space)
    if not parts.settings.has_encoder:
        return EncoderReport("none", space)
    try:
        health = await parts.encoder.health()
    except EncoderUnavailable:
        return EncoderReport("unavailable", space)
    return EncoderReport("ok", health.space, health.encoder_id)


def _nodes(parts: Parts) -> list[NodeReport]:
    now = parts.cluster.now()
    return [
        NodeReport(
            node_id=node.status.node_id,
            shard=node.status.shard,
            replica=node.status.replica,
            url=node.status.url,
            state=node.status.state,
            generation=node.status.generation,
            products=node.status.products,
            delta_rows=node.status.delta_rows,
            applied=node.status.applied,
            age_s=None if node.heard_at is None else round(now - node.heard_at, 1),
            answers=not node.has_failed,
        )
        for node in parts.cluster.routes.nodes()
    ]
