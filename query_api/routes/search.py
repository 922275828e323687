"""Routes of shoppers: search, more like this, explain, and what they did with the results."""

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from query_api.access.identity import caller_of
from query_api.access.keys import PARTS, SEARCHER, answer, read_json
from query_api.query.parts import PictureField, image_bytes
from query_api.query.request import (
    ExplainBody,
    FilterText,
    K,
    NoParameters,
    Query,
    SearchBody,
    Session,
    TimeoutMs,
    convert_parameters,
    explained_query,
    query_of_body,
    query_of_json,
    query_of_picture,
)
from query_api.search.explain import Explainer
from schemas.answers import FeedbackAnswer, ProductId, RegionBoxes
from schemas.errors import InvalidQuery, UnsupportedMediaType
from schemas.feedback import Click, FeedbackKind
from schemas.identity import product_key

_QUERY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

_explains = msgspec.json.Decoder(ExplainBody)


class FeedbackBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a shopper did with a product of an answer. ``position`` is that of the answer, from 1."""

    query_id: Annotated[str, Meta(description="That of the answer.", examples=["3f0c2a"])]
    product_id: ProductId
    position: Annotated[int, Meta(ge=1, le=1_000, description="That of the result, from 1.", examples=[1])]
    kind: Annotated[FeedbackKind, Meta(description="What was done.", examples=["click"])]
    dwell_ms: Annotated[
        Annotated[int, Meta(ge=0, le=86_400_000)] | None,
        Meta(description="How long the product was looked at.", examples=[5200]),
    ] = None
    session: Session = None


class RegionsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture, as in a search."""

    image: PictureField


class SimilarParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of ``similar``; as in a search."""

    filter: FilterText = None
    k: K = 10
    timeout_ms: TimeoutMs = None
    session: Session = None


_feedback = msgspec.json.Decoder(FeedbackBody)
_regions = msgspec.json.Decoder(RegionsBody)


def is_not_to_be_tracked(headers: Mapping[str, str]) -> bool:
    """Whether the shopper's browser says so: ``Sec-GPC: 1`` or ``DNT: 1``."""
    return "1" in (headers.get("Sec-GPC"), headers.get("DNT"))


def remember_click(request: web.Request, body: FeedbackBody, tenant: str) -> None:
    """For the rest of the session, unless it is not to be tracked: then what was known of it is forgotten."""
    ranker, now_us = request.app[SEARCHER].ranker, request.app[PARTS].clock.now_us()
    if is_not_to_be_tracked(request.headers):
        ranker.profiles.forget(tenant, body.session)
    else:
        ranker.profiles.clicked(tenant, body.session, body.product_id, body.kind, now_us)
    if body.kind == "click":
        ranker.seen.clicked(tenant, body.product_id)


async def search(request: web.Request) -> web.Response:
    """``POST /v1/search``: a JSON body, or a raw picture with query parameters."""
    caller = caller_of(request)
    query = respecting(request, await _query(request))
    return answer(await request.app[SEARCHER].search(caller, query))


async def similar(request: web.Request) -> web.Response:
    """``GET /v1/products/{id}/similar``: products like this one."""
    given = convert_parameters(request.query, SimilarParameters)
    body = SearchBody(
        product_id=request.match_info["product_id"],
        filter=None if given.filter is None else decode_filter(given.filter),
        k=given.k,
        timeout_ms=given.timeout_ms,
        session=given.session,
    )
    query = respecting(request, query_of_body(body, request.app[PARTS].settings))
    return answer(await request.app[SEARCHER].search(caller_of(request), query))


async def explain(request: web.Request) -> web.Response:
    """``POST /v1/explain`` and ``/v1/why-not``: one product walked through every stage of a search."""
    body = await read_json(request, _explains)
    if body.product_id is None:
        raise InvalidQuery("product_id is the product to account for")
    caller = caller_of(request)
    product_key(caller.tenant, body.product_id)
    query = respecting(request, explained_query(body, request.app[PARTS].settings))
    return answer(await Explainer(request.app[SEARCHER]).explain(caller, query, body.product_id))


async def regions(request: web.Request) -> web.Response:
    """``POST /v1/regions``: where objects may be in a picture, without a search."""
    image = image_bytes((await read_json(request, _regions)).image)
    assert image is not None
    timeout_s = request.app[PARTS].settings.timeout_ms / 1000
    boxes = await request.app[SEARCHER].vectors.regions(image, timeout_s=timeout_s)
    return answer(RegionBoxes([list(box) for box in boxes]))


async def feedback(request: web.Request) -> web.Response:
    """``POST /v1/feedback``: taken at once; false says that a full buffer dropped it."""
    body = await read_json(request, _feedback)
    caller = caller_of(request)
    if not _QUERY_ID.fullmatch(body.query_id):
        raise InvalidQuery("query_id is the one of an answer: up to 64 of A-Z, a-z, 0-9, '_' and '-'")
    product_key(caller.tenant, body.product_id)
    parts = request.app[PARTS]
    remember_click(request, body, caller.tenant)
    click = Click(
        query_id=body.query_id,
        tenant=caller.tenant,
        product_id=body.product_id,
        position=body.position,
        kind=body.kind,
        clicked_at=parts.clock.now_us(),
        dwell_ms=body.dwell_ms,
        session=body.session,
    )
    return answer(FeedbackAnswer(parts.feedback.clicked(click)), status=202)


def respecting(request: web.Request, query: Query) -> Query:
    if not is_not_to_be_tracked(request.headers):
        return query
    return msgspec.structs.replace(query, ranking=msgspec.structs.replace(query.ranking, personalise=False))


def decode_filter(text: str) -> dict[str, object]:
    """The JSON object of a ``filter`` parameter; raises InvalidQuery."""
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidQuery(f"filter is a JSON object: {error}") from None


async def _query(request: web.Request) -> Query:
    settings, given = request.app[PARTS].settings, request.content_type
    if given == "application/json":
        if request.query:  # or a filter that was put there would pass for none
            convert_parameters(request.query, NoParameters)
        return query_of_json(await request.read(), settings)
    if given.startswith("image/"):
        return query_of_picture(await request.read(), request.query, settings)
    raise UnsupportedMediaType(f"send application/json, or a picture as image/*; this is {given[:100]!r}")
