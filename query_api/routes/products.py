"""Routes of catalogues and of everybody who looks at one product: publish, delete, get, list, look up, thumbnails."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from query_api import problems, publishing
from query_api.access.identity import Caller, caller_of
from query_api.access.keys import PARTS, SEARCHER, answer, json_bytes, read_json
from query_api.query import fields
from query_api.query.parts import PIXEL, VectorBody
from query_api.query.request import (
    FacetNames,
    FilterText,
    MinOffset,
    WaitMs,
    convert_parameters,
    listing,
    token_of_body,
)
from query_api.search import answers, facets
from query_api.search.pipeline import RETRIEVED_MAX
from query_api.search.query_vector import QueryVector
from query_api.settings import ITEMS_MAX
from query_api.shards.freshness import answer_token
from query_api.shards.scatter import Answers
from schemas.answers import DeleteAnswer, LookupAnswer, ProductAnswer, ProductId, ProductPage, PublishedItem, ShardCount
from schemas.errors import FreshlensError, InvalidQuery, NotFound
from schemas.events import ProductDeleted
from schemas.identity import product_key
from schemas.progress import Position, ReadToken
from schemas.shard import ShardLookup, ShardProducts
from topics.thumbnails import get_thumbnail

_IN_FLIGHT = 64
_NO_VECTOR = QueryVector(None, {})
_INT64_MAX = 2**63 - 1
_Outcome = tuple[PublishedItem, Position | None, FreshlensError | None]


class ListParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One page of products, newest first; the first 1,000 can be seen. ``filter`` and ``facets`` as in a search."""

    limit: Annotated[int, Meta(ge=1, le=200, description="Products of a page.", examples=[50])] = 50
    offset: Annotated[int, Meta(ge=0, le=RETRIEVED_MAX, description="Where the page begins.", examples=[0])] = 0
    filter: FilterText = None
    facets: FacetNames = None


class PublishParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``hot``: ahead of everything that is queued, for a few products that cannot wait."""

    hot: Annotated[bool, Meta(description="Ahead of everything that is queued.", examples=[False])] = False


class DeleteParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The version of the deletion; absent: the time at which Kafka takes it."""

    version: Annotated[
        Annotated[int, Meta(ge=0, le=_INT64_MAX)] | None,
        Meta(description="Of the deletion; absent: the time at which Kafka takes it.", examples=[1795200000000009]),
    ] = None


class ThumbnailParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The longest side in pixels: 96, 256 or 512."""

    size: Annotated[int, Meta(description="Pixels of the longest side: 96, 256 or 512.", examples=[256])] = 256


class PublishedPicture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture within JSON: where it is, or its bytes in base64; one of the two."""

    uri: Annotated[
        str | UnsetType, Meta(description="An http(s):// address.", examples=["https://shop.example/mug-1.jpg"])
    ] = UNSET
    base64: Annotated[
        str | UnsetType, Meta(description="Its bytes: JPEG, PNG, WebP, GIF, TIFF, BMP or AVIF.", examples=[PIXEL])
    ] = UNSET


_Picture = str | PublishedPicture
_Numbers = list[float] | VectorBody


class ProductBody(msgspec.Struct, frozen=True, kw_only=True):
    """A product as catalogues publish it; every key that is not listed here is an attribute.

    ``price``, ``currency``, ``stock``, ``in_stock`` and declared volatile attributes form the offer, every other key
    but id and version the content; a group is sent whole or not at all. :mod:`schemas.product_lines` reads it.
    """

    product_id: ProductId
    version: Annotated[
        int | None,
        Meta(description="Microseconds since 1970, or a sequence; null: now.", examples=[1795200000000000]),
    ] = None
    event_time: Annotated[
        int | None, Meta(description="When it happened, microseconds since 1970.", examples=[1795200000000000])
    ] = None
    title: Annotated[str | None, Meta(description="Its title.", examples=["A blue mug"])] = None
    description: Annotated[str | None, Meta(description="Its description.", examples=["Holds 0.3 l"])] = None
    image: Annotated[
        _Picture | None, Meta(description="A picture: an address, or its bytes.", examples=[{"base64": PIXEL}])
    ] = None
    images: Annotated[
        list[_Picture] | None, Meta(description="Several; empty: content without a picture.", examples=[[]])
    ] = None
    videos: Annotated[
        list[str] | None, Meta(description="Addresses of videos.", examples=[["https://shop.example/mug-1.mp4"]])
    ] = None
    vector: Annotated[
        _Numbers | None, Meta(description="An embedding of its own, normalised by us.", examples=[[0.12, -0.53, 0.84]])
    ] = None
    vectors: Annotated[
        list[_Numbers] | None, Meta(description="Several embeddings.", examples=[[[0.12, -0.53, 0.84]]])
    ] = None
    price: Annotated[float | None, Meta(description="In `currency`.", examples=[9.5])] = None
    currency: Annotated[str | None, Meta(description="Of the price.", examples=["EUR"])] = None
    stock: Annotated[int | None, Meta(description="How many there are.", examples=[3])] = None
    in_stock: Annotated[
        bool | None, Meta(description="Whether it can be had; null: as the stock says.", examples=[True])
    ] = None


class LookupBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Products to look up by id, dead ones included; ``min_offset`` and ``wait_ms`` as in a search."""

    product_ids: Annotated[
        list[str],
        Meta(min_length=1, max_length=ITEMS_MAX, description="Ids of products.", examples=[["dress-7", "never-seen"]]),
    ]
    min_offset: MinOffset = None
    wait_ms: WaitMs = 0


_lookups = msgspec.json.Decoder(LookupBody)


async def publish(request: web.Request) -> web.Response:
    """``POST /v1/products``: one product or a list; the good ones go out even where others are refused."""
    caller = caller_of(request)
    parts = request.app[PARTS]
    hot = convert_parameters(request.query, PublishParameters).hot
    lines, is_list = _lines(await json_bytes(request))
    declaration = await parts.tenants.current(caller.tenant)
    turns = asyncio.Semaphore(_IN_FLIGHT)

    async def published(index: int, line: Any) -> _Outcome:
        try:
            now_us = parts.clock.now_us()
            event = publishing.event_of(line, declaration, now_us=now_us, with_stored=caller.sees_all)
            async with turns:
                position = await parts.publisher.publish(event, hot=hot)
        except FreshlensError as error:
            return publishing.rejected(index, line, error), None, error
        return publishing.accepted(index, event.product_id, position), position, None

    outcomes = await asyncio.gather(*(published(index, line) for index, line in enumerate(lines)))
    positions = [position for _, position, _ in outcomes if position is not None]
    summary = publishing.summary([item for item, _, _ in outcomes], positions)
    first = next((error for _, _, error in outcomes if error is not None), None)
    if first is not None and not positions:
        items = msgspec.to_builtins(summary.items) if is_list else None
        return problems.response(problems.problem_of(first, items=items))
    return answer(summary, status=202)


async def delete(request: web.Request) -> web.Response:
    """``DELETE /v1/products/{id}``."""
    caller = caller_of(request)
    parts = request.app[PARTS]
    key = product_key(caller.tenant, request.match_info["product_id"])
    version = convert_parameters(request.query, DeleteParameters).version
    declaration = await parts.tenants.current(caller.tenant)
    publishing.check_version(version, declaration, now_us=parts.clock.now_us())
    event = ProductDeleted(caller.tenant, key.product_id, version, "api", parts.clock.now_us())
    position = await parts.publisher.publish(event)
    return answer(DeleteAnswer(key.product_id, ReadToken((position,)).encode()), status=202)


async def get(request: web.Request) -> web.Response:
    """``GET /v1/products/{id}``: the product as it can be found now."""
    caller = caller_of(request)
    product_id = request.match_info["product_id"]
    product_key(caller.tenant, product_id)
    found = await _lookup(request, caller, (product_id,), {}, 0)
    product = next((product for each in found.answers for product in each.products), None)
    if product is None or not product.visible or product.hit is None:
        said = "" if product is None or product.deleted_version is None else f"; deleted at {product.deleted_version}"
        raise NotFound(f"there is no product {product_id!r} in tenant {caller.tenant!r}{said}")
    token = answer_token(each.state for each in found.answers)
    return answer(
        ProductAnswer(
            **msgspec.structs.asdict(answers.product_of(product.hit, caller.tenant)),
            views=answers.views_of(product, caller.tenant),
            agreement=product.hit.agreement,
            content_version=product.content_version,
            offer_version=product.offer_version,
            read_token=token.encode(),
        )
    )


async def list_newest(request: web.Request) -> web.Response:
    """``GET /v1/products``: the newest first."""
    caller = caller_of(request)
    page = convert_parameters(request.query, ListParameters)
    last = min(page.offset + page.limit, RETRIEVED_MAX)
    # One more than is shown, to know whether there is a next page.
    wanted = min(last + 1, RETRIEVED_MAX)
    timeout_ms = request.app[PARTS].settings.timeout_ms
    query = listing(page.filter, page.facets)
    searcher = request.app[SEARCHER]
    fields.check_declared(query.filter, await searcher.attribute_types(caller.tenant))
    retrieved = await searcher.retrieve(caller, query, _NO_VECTOR, k=wanted, timeout_ms=timeout_ms)
    shown = [answers.product_of(hit, caller.tenant) for hit in retrieved.hits[page.offset : last]]
    shards = retrieved.shards
    counted = facets.merged([each.facets for each in shards.answers], query.facets, is_partial=shards.is_partial)
    next_offset = last if len(retrieved.hits) > last else None
    return answer(
        ProductPage(
            shown, next_offset, ShardCount(shards.answered, shards.total), counted if query.facets else msgspec.UNSET
        )
    )


async def look_up(request: web.Request) -> web.Response:
    """``POST /v1/products/lookup``: products as the index has them, dead ones included."""
    body = await read_json(request, _lookups)
    caller = caller_of(request)
    for product_id in body.product_ids:
        product_key(caller.tenant, product_id)
    cluster = request.app[PARTS].cluster
    started = cluster.now()
    needed = await cluster.requirement_within(token_of_body(body.min_offset), body.wait_ms)
    left_ms = max(0, body.wait_ms - int((cluster.now() - started) * 1000))
    ids = tuple(dict.fromkeys(body.product_ids))
    found = await _lookup(request, caller, ids, needed.min_applied, left_ms)
    by_id = {product.product_id: product for each in found.answers for product in each.products}
    states = [each.state for each in found.answers]
    return answer(
        LookupAnswer(
            products=[answers.looked_up(by_id[name], caller.tenant) for name in ids if name in by_id],
            freshness_met=needed.is_covered
            and not found.is_partial
            and all(each.freshness_met for each in found.answers),
            freshness=answers.freshness_of(states),
            shards=ShardCount(found.answered, found.total),
            read_token=answer_token(states).encode(),
        )
    )


async def thumbnail(request: web.Request) -> web.Response:
    """``GET /v1/thumbnails/{hash}``: named by its content, so it never changes and may be kept for ever."""
    caller = caller_of(request)
    size = convert_parameters(request.query, ThumbnailParameters).size
    if size not in answers.THUMBNAIL_SIZES:
        raise InvalidQuery(f"size is one of {', '.join(map(str, answers.THUMBNAIL_SIZES))}")
    content_hash = request.match_info["content_hash"]
    try:
        store = request.app[PARTS].store
        picture = await asyncio.to_thread(get_thumbnail, store, caller.tenant, content_hash, size)
    except (ValueError, FileNotFoundError):
        raise NotFound(f"there is no thumbnail {content_hash[:80]!r} in tenant {caller.tenant!r}") from None
    etag = f'"{content_hash}-{size}"'
    # Private: keys of the store are by tenant, and a cache between us and the caller knows nothing of tenants.
    headers = {"ETag": etag, "Cache-Control": "private, max-age=31536000, immutable"}
    if etag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    return web.Response(body=picture, content_type="image/jpeg", headers=headers)


async def _lookup(
    request: web.Request, caller: Caller, product_ids: tuple[str, ...], min_applied: dict[int, int], wait_ms: int
) -> Answers[ShardProducts]:
    lane = request.app[PARTS].settings.lane
    return await request.app[SEARCHER].scatter.lookup(
        ShardLookup(
            lane=lane.name,
            layout_id=lane.layout.layout_id,
            tenant=caller.tenant,
            product_ids=product_ids,
            min_applied=min_applied,
            wait_ms=wait_ms,
        )
    )


def _lines(raw: bytes) -> tuple[Sequence[Any], bool]:
    try:
        decoded = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidQuery(f"the body is not JSON: {error}") from None
    if not isinstance(decoded, list):
        return [decoded], False
    if not 1 <= len(decoded) <= ITEMS_MAX:
        raise InvalidQuery(f"a list has 1 to {ITEMS_MAX} products")
    return decoded, True
