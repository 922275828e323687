"""A stand-in for the API, for developing the page and testing its states without Kafka.

``python -m tests.e2e.fake_api --port 8099`` serves the page over a few drawn products. A picture is described by its
colours on a coarse raster: enough that the right product comes first. It keeps products in memory and forgets them.
"""

import argparse
import asyncio
import base64
import hashlib
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from numpy.typing import NDArray
from PIL import Image, ImageColor

from freshlens.catalogue import as_json, draw, product
from schemas.filters import And, AnyOf, Filter, Not, Or, Range, parse_filter

PAGE = Path(__file__).parents[2] / "query_api" / "page"
SIMILAR_ENOUGH = 0.35
SEARCHABLE_AFTER_S = 0.15
_OFFER = ("price", "currency", "stock")
_RASTER = 10
_COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "black", "white")


Vector = NDArray[np.float32]


@dataclass
class Stored:
    """One product, from when on it is (or is no longer) searchable."""

    line: dict[str, Any]
    picture: Image.Image | None
    vector: Vector | None
    version: int
    changes_at: float
    is_deleted: bool = False

    def visible(self, now: float) -> bool:
        return (now >= self.changes_at) != self.is_deleted


@dataclass
class Fake:
    """Everything the stand-in knows: tenant → product_id → product, and what was sent as feedback."""

    tenants: dict[str, dict[str, Stored]] = field(default_factory=dict)
    feedback: list[dict[str, Any]] = field(default_factory=list)
    queries: int = 0


FAKE = web.AppKey("fake", Fake)


def vector_of(picture: Image.Image) -> Vector:
    """The colours on a raster, without their mean, of unit norm."""
    small = np.asarray(picture.convert("RGB").resize((_RASTER, _RASTER), Image.Resampling.BOX), np.float32)
    vector = (small - small.mean()).ravel()
    return unit(vector)


def unit(vector: Vector) -> Vector:
    length = float(np.linalg.norm(vector)) + 1e-6
    return (vector / length).astype(np.float32)


def text_vector(text: str) -> Vector | None:
    """The colour that a text names, in the middle of the raster."""
    named = [word for word in text.lower().split() if word in _COLOURS]
    if not named:
        return None
    canvas = Image.new("RGB", (_RASTER, _RASTER), "#eeeeee")
    canvas.paste(ImageColor.getrgb(named[0]), (2, 2, _RASTER - 2, _RASTER - 2))
    return vector_of(canvas)


def passes(filter_: Filter | None, line: dict[str, Any]) -> bool:
    """Whether a product passes, as index nodes decide it."""
    match filter_:
        case None:
            return True
        case And(clauses):
            return all(passes(clause, line) for clause in clauses)
        case Or(clauses):
            return any(passes(clause, line) for clause in clauses)
        case Not(clause):
            return not passes(clause, line)
        case AnyOf(name, values):
            return (line.get("stock", 1) > 0 if name == "in_stock" else line.get(name)) in values
        case Range(name, gte, gt, lte, lt):
            value = line.get(name)
            bounds = ((gte, "__ge__"), (gt, "__gt__"), (lte, "__le__"), (lt, "__lt__"))
            return value is not None and all(
                getattr(float(value), how)(bound) for bound, how in bounds if bound is not None
            )
    return False


def problem(status: int, code: str, detail: str) -> web.Response:
    body = {"type": f"/docs#{code}", "title": "Refused", "status": status, "code": code, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json")


def store(fake: Fake, tenant: str, line: dict[str, Any], picture: Image.Image | None, delay_s: float = 0.0) -> None:
    """Publish a product; it is searchable after the delay."""
    vector = None if picture is None else vector_of(picture)
    stored = Stored(line, picture, vector, time.time_ns() // 1000, time.monotonic() + delay_s)
    fake.tenants.setdefault(tenant, {})[line["product_id"]] = stored


def shown(stored: Stored, tenant: str) -> dict[str, Any]:
    """A product as answers carry it."""
    attributes = {
        name: value
        for name, value in stored.line.items()
        if name not in (*_OFFER, "product_id", "title", "description", "image")
    }
    offer = {name: stored.line.get(name) for name in _OFFER}
    picture = hashlib.sha1(stored.line["product_id"].encode()).hexdigest()
    return {
        "product_id": stored.line["product_id"],
        "version": stored.version,
        "title": stored.line.get("title"),
        "description": stored.line.get("description"),
        "attributes": attributes,
        **offer,
        "in_stock": stored.line.get("stock", 1) != 0,
        "thumbnail": f"/v1/thumbnails/{picture}?tenant={tenant}&size=256" if stored.picture else None,
    }


def visible(fake: Fake, tenant: str) -> list[Stored]:
    """Searchable products, newest first."""
    now = time.monotonic()
    return sorted((s for s in fake.tenants.get(tenant, {}).values() if s.visible(now)), key=lambda s: -s.version)


def freshness() -> list[dict[str, Any]]:
    return [{"shard": 0, "generation": 3, "applied": {"0": 1042}, "lag_ms": 12, "stale": False}]


async def search(request: web.Request) -> web.Response:
    fake, tenant, body = request.app[FAKE], tenant_of(request), await request.json()
    if body.get("text") == "please fail":
        return problem(503, "shard-unavailable", "no replica of shard 0 answered; try again in a moment")
    if body.get("min_offset"):
        await asyncio.sleep(SEARCHABLE_AFTER_S * 1.5)
    try:
        query = query_vector(fake, tenant, body)
        filter_ = parse_filter(body["filter"]) if body.get("filter") else None
    except Exception as error:
        return problem(getattr(error, "status", 400), getattr(error, "code", "invalid-query"), str(error))
    found = [stored for stored in visible(fake, tenant) if passes(filter_, stored.line)]
    scored = [
        (score_of(query, stored), stored) for stored in found if stored.line["product_id"] != body.get("product_id")
    ]
    scored.sort(key=lambda pair: -pair[0])
    scored, nearest = [(score, each) for score, each in scored if query is None or score >= SIMILAR_ENOUGH], scored
    answered = answer(fake, tenant, scored[: body.get("k", 10)], len(found), body)
    if body.get("limited_matches") and not scored:
        answered["limited_matches"] = results_of(nearest[: body.get("k", 10)], tenant, body)
    return web.json_response(answered)


def score_of(query: Vector | None, stored: Stored) -> float:
    return 0.0 if query is None or stored.vector is None else float(query @ stored.vector)


def query_vector(fake: Fake, tenant: str, body: dict[str, Any]) -> Vector | None:
    """The vector that is searched for; None for a filter alone."""
    parts = []
    if body.get("image"):
        picture = Image.open(io.BytesIO(base64.b64decode(body["image"]["base64"]))).convert("RGB")
        if crop := body.get("crop"):
            x, y, w, h = crop
            picture = picture.crop(
                (
                    int(x * picture.width),
                    int(y * picture.height),
                    int((x + w) * picture.width),
                    int((y + h) * picture.height),
                )
            )
        parts.append(vector_of(picture))
    if body.get("product_id"):
        vector = fake.tenants[tenant][body["product_id"]].vector
        assert vector is not None
        parts.append(vector)
    if text := body.get("text"):
        words = text_vector(text)
        parts.append(np.zeros(3 * _RASTER**2, np.float32) if words is None else words)
    if not parts:
        return None
    return unit(np.sum(parts, axis=0))


def answer(
    fake: Fake, tenant: str, scored: Iterable[tuple[float, Stored]], total: int, body: dict[str, Any]
) -> dict[str, Any]:
    fake.queries += 1
    results = results_of(scored, tenant, body)
    is_partial = body.get("text") == "red partial"
    return {
        "query_id": f"fake-{fake.queries}",
        "results": results,
        "no_match": not results,
        "total_candidates": total,
        "freshness_met": True,
        "read_token": "seen",
        "freshness": [{**freshness()[0], "stale": is_partial}],
        "shards": {"answered": 1, "total": 2 if is_partial else 1},
        "timings_ms": {"encode": 5.1, "search": 1.2, "rank": 0.3, "total": 7.0},
        "warnings": ["partial: 1 of 2 shards answered", "stale: shard 0 is 9000 ms behind"] if is_partial else [],
    }


def results_of(scored: Iterable[tuple[float, Stored]], tenant: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            **shown(stored, tenant),
            "score": round(score, 4),
            "similarity": round(score, 4),
            "position": at,
            "source": "tail" if at % 3 == 0 else "main",
            **({"why": why(score)} if body.get("explain") else {}),
        }
        for at, (score, stored) in enumerate(scored, start=1)
    ]


def why(score: float) -> dict[str, Any]:
    """A score of three stages, one of which takes away."""
    return {
        "stages": {"visual": score - 0.05, "attributes": 0.15, "fresh": 0.0, "diversity": -0.1},
        "rules": ["own brand"],
        "inliers": 41,
    }


async def newest(request: web.Request) -> web.Response:
    tenant, limit = tenant_of(request), int(request.query.get("limit", 60))
    filter_ = parse_filter(json.loads(request.query["filter"])) if "filter" in request.query else None
    found = [stored for stored in visible(request.app[FAKE], tenant) if passes(filter_, stored.line)]
    page: dict[str, Any] = {"products": [shown(stored, tenant) for stored in found[:limit]], "next_offset": None}
    if names := request.query.get("facets"):
        page["facets"] = {name: facet([shown(stored, tenant) for stored in found], name) for name in names.split(",")}
    return web.json_response(page)


def facet(products: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """How often each value of a field occurs; without values where no product has it."""
    values = [each["attributes"].get(name, each.get(name)) for each in products]
    counts = Counter(value for value in values if value is not None)
    numbers = [value for value in counts if isinstance(value, float | int)]
    return {
        "kind": None if not counts else "number" if numbers else "string",
        "values": [{"value": value, "count": count} for value, count in counts.most_common(100)],
        "distinct": len(counts), "exact": True,
        "least": min(numbers, default=None), "greatest": max(numbers, default=None),
    }  # fmt: skip


async def one(request: web.Request) -> web.Response:
    """A product with views of every kind."""
    tenant = tenant_of(request)
    stored = request.app[FAKE].tenants.get(tenant, {}).get(request.match_info["product_id"])
    if stored is None or not stored.visible(time.monotonic()):
        return problem(404, "not-found", "there is no such product")
    product_ = shown(stored, tenant)
    picture = {"thumbnail": product_["thumbnail"], "timestamp_ms": None, "flags": []}
    views = [
        {**picture, "kind": "image"},
        {**picture, "kind": "image", "flags": ["blurred", "small"]},
        {**picture, "kind": "frame", "timestamp_ms": 83_000},
        {**picture, "kind": "text", "thumbnail": None},
    ]
    return web.json_response({**product_, "views": views, "agreement": 0.31, "read_token": "seen"})


async def regions(request: web.Request) -> web.Response:
    """Two things side by side in a wide picture, one in any other."""
    body = await request.json()
    picture = Image.open(io.BytesIO(base64.b64decode(body["image"]["base64"])))
    halves = [[0.03, 0.05, 0.44, 0.9], [0.53, 0.05, 0.44, 0.9]]
    return web.json_response({"boxes": halves if picture.width > 1.5 * picture.height else halves[:1]})


async def publish(request: web.Request) -> web.Response:
    fake, tenant, body = request.app[FAKE], tenant_of(request), await request.json()
    lines = body if isinstance(body, list) else [body]
    for line in lines:
        try:
            picture = Image.open(io.BytesIO(base64.b64decode(line["image"]["base64"]))).convert("RGB")
        except Exception:
            return problem(400, "undecodable-image", "the bytes are no picture we can read")
        store(fake, tenant, line, picture, SEARCHABLE_AFTER_S)
    items = [{"index": at, "status": "accepted", "product_id": line["product_id"]} for at, line in enumerate(lines)]
    return web.json_response(
        {"accepted": len(lines), "rejected": 0, "read_token": "published", "items": items}, status=202
    )


async def delete(request: web.Request) -> web.Response:
    product_id = request.match_info["product_id"]
    stored = request.app[FAKE].tenants.get(tenant_of(request), {}).get(product_id)
    if stored is not None:
        stored.is_deleted, stored.changes_at = True, time.monotonic() + SEARCHABLE_AFTER_S
    return web.json_response({"product_id": product_id, "read_token": "deleted"}, status=202)


async def thumbnail(request: web.Request) -> web.Response:
    size = int(request.query.get("size", 256))
    for stored in request.app[FAKE].tenants.get(request.query.get("tenant", "default"), {}).values():
        if (
            stored.picture
            and hashlib.sha1(stored.line["product_id"].encode()).hexdigest() == request.match_info["hash"]
        ):
            small = stored.picture.copy()
            small.thumbnail((size, size))
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=88)
            return web.Response(body=buffer.getvalue(), content_type="image/jpeg")
    return problem(404, "not-found", "no such picture")


async def feedback(request: web.Request) -> web.Response:
    request.app[FAKE].feedback.append(await request.json())
    return web.json_response({"accepted": True}, status=202)


async def status(request: web.Request) -> web.Response:
    products = len(visible(request.app[FAKE], tenant_of(request)))
    return web.json_response(
        {"products": products, "lag_ms": 12, "freshness": freshness(), "shards": {"answered": 1, "total": 1}}
    )


async def quality(request: web.Request) -> web.Response:
    """Invented windows for the demo tenant, none for others."""
    if tenant_of(request) != "demo":
        return web.json_response({"windows": []})
    minute, count = 60_000_000, min(int(request.query.get("windows", 60)), 48)
    end = time.time_ns() // 1000 // minute * minute
    return web.json_response({"windows": [window(end - at * minute, minute, at) for at in range(count)]})


def window(start: int, length: int, at: int) -> dict[str, Any]:
    searches = 40 + int(18 * np.sin(at / 5)) + at * 7 % 13
    positions = [
        {"position": p, "shown": searches, "clicks": int(searches * 0.22 / p**1.1), "ctr": 0.0} for p in range(1, 13)
    ]
    positions = [{**each, "ctr": each["clicks"] / searches} for each in positions]
    return {
        "tenant": "demo", "arm": "default", "window_start": start, "window_end": start + length, "revision": 1,
        "searches": searches, "zero_results": at * 5 % 4, "abandoned": searches // 3,
        "clicks": sum(each["clicks"] for each in positions),
        "carts": searches // 8, "purchases": searches // 21,
        "positions": positions,
    }  # fmt: skip


def tenant_of(request: web.Request) -> str:
    return request.query.get("tenant", "default")


async def index_page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE / "index.html")


async def analytics_page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE / "analytics.html")


def application(products: int) -> web.Application:
    """The stand-in with so many drawn products in tenant ``demo``."""
    app = web.Application(client_max_size=10_000_000)
    app[FAKE] = Fake()
    for number in range(products):
        item = product(number)
        store(app[FAKE], "demo", as_json(item), draw(item, 320))
    app.add_routes([
        web.get("/", index_page),
        web.get("/analytics", analytics_page),
        web.static("/page", PAGE),
        web.post("/v1/search", search),
        web.get("/v1/products", newest),
        web.post("/v1/regions", regions),
        web.get("/v1/products/{product_id}", one),
        web.post("/v1/products", publish),
        web.delete("/v1/products/{product_id}", delete),
        web.get("/v1/thumbnails/{hash}", thumbnail),
        web.post("/v1/feedback", feedback),
        web.get("/v1/status", status),
        web.get("/v1/search-quality", quality),
    ])  # fmt: skip
    return app


async def serve(port: int, products: int) -> None:
    """Serve on loopback, print ``search http://…`` and ``ready`` as ``freshlens up`` does, until cancelled."""
    runner = web.AppRunner(application(products), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, bound = runner.addresses[0][:2]
    sys.stdout.write(f"search http://{host}:{bound}/\nready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument("--products", type=int, default=72)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.products))
