"""Every route, declared once: served by the application, described by the OpenAPI document."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from query_api import events
from query_api.access.api_keys import Scope
from query_api.openapi import page as docs_page
from query_api.query.parts import PIXEL
from query_api.query.request import ExplainBody, RawParameters, SearchBody
from query_api.routes import (
    batch as routes_batch,
)
from query_api.routes import (
    operations as routes_operations,
)
from query_api.routes import (
    products as routes_products,
)
from query_api.routes import refusals
from query_api.routes import (
    search as routes_search,
)
from query_api.routes.refusals import Refusal
from schemas import answers

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes:
        scope: what a key needs to use it; None: open to everybody, with or without a key.
        body: the type of its JSON body.
        parameters: a struct whose fields are its query parameters.
        answer: the type of its JSON answer; or the media type of another kind of answer.
        takes_picture: a raw picture is a body too.
        is_stream: it answers for as long as the caller listens.
        refuses: what it may refuse with.
        examples: bodies by name, where one that is made of the fields' examples would mean nothing.
        not_yet: a second status with the same kind of answer.
        is_of_all_tenants: it tells of all tenants together, so that a key for one of them is not enough.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answer: Any
    _: KW_ONLY
    scope: Scope | None
    refuses: Sequence[Refusal]
    body: Any = None
    examples: Mapping[str, Any] | None = None
    parameters: type[msgspec.Struct] | None = None
    status: int = 200
    not_yet: int | None = None
    takes_picture: bool = False
    is_stream: bool = False
    is_of_all_tenants: bool = False


_Health = Annotated[dict[str, bool], Meta(examples=[{"ok": True}])]
_Document = Annotated[dict[str, Any], Meta(examples=[{"openapi": "3.1.0"}])]
SEARCHES: Mapping[str, Any] = {
    "picture and words": {"image": {"base64": PIXEL}, "text": "in blue", "text_weight": 0.4, "k": 5},
    "words and a filter": {"text": "red dress", "filter": {"color": "red", "price": {"gte": 1, "lt": 50}}, "k": 5},
    "like a product, but not": {"product_id": "dress-7", "minus": "long", "minus_weight": 0.3},
    "parts with weights": {"parts": [{"product_id": "dress-7", "weight": 0.7}, {"text": "leather", "weight": -0.4}]},
    "a filter alone, with counts": {"filter": {"in_stock": True}, "facets": ["color", "price"]},
    "as fresh as an event": {
        "text": "mug",
        "min_offset": {"topic": "product-added", "partition": 0, "offset": 41},
        "wait_ms": 1,
    },
}
EXPLAINED: Mapping[str, Any] = {
    "of a search": {"product_id": "dress-7", "text": "red dress", "k": 5},
    "at all": {"product_id": "dress-7"},
}
PUBLISHED: Mapping[str, Any] = {
    "one": {"product_id": "mug-1", "title": "A blue mug", "color": "blue", "price": 9.5, "images": []},
    "a new price": {"product_id": "mug-1", "price": 8.0, "currency": "EUR", "stock": 3},
    "a list": [{"product_id": "mug-1", "stock": 2}, {"product_id": "mug-2", "stock": 0}],
}

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/search",
        routes_search.search,
        "Search by picture, text, both, product, vector or filter",
        answers.SearchAnswer,
        scope="search",
        refuses=refusals.SEARCH,
        body=SearchBody,
        examples=SEARCHES,
        parameters=RawParameters,
        takes_picture=True,
    ),
    Route(
        "POST",
        "/v1/search/batch",
        routes_batch.batch,
        "Many searches at once",
        answers.BatchAnswer,
        scope="search",
        refuses=refusals.BODY,
        body=routes_batch.BatchBody,
    ),
    Route(
        "POST",
        "/v1/regions",
        routes_search.regions,
        "Where objects may be in a picture",
        answers.RegionBoxes,
        scope="search",
        refuses=refusals.REGIONS,
        body=routes_search.RegionsBody,
    ),
    Route(
        "POST",
        "/v1/explain",
        routes_search.explain,
        "Why a product is where it is",
        answers.Explanation,
        scope="search",
        refuses=refusals.SEARCH,
        body=ExplainBody,
        examples=EXPLAINED,
    ),
    Route(
        "POST",
        "/v1/why-not",
        routes_search.explain,
        "Why a product is not found, and what would change that",
        answers.Explanation,
        scope="search",
        refuses=refusals.SEARCH,
        body=ExplainBody,
        examples=EXPLAINED,
    ),
    Route(
        "POST",
        "/v1/feedback",
        routes_search.feedback,
        "Tell what a shopper did with a result",
        answers.FeedbackAnswer,
        scope="feedback",
        refuses=refusals.FEEDBACK,
        body=routes_search.FeedbackBody,
        status=202,
    ),
    Route(
        "GET",
        "/v1/products",
        routes_products.list_newest,
        "Products, newest first",
        answers.ProductPage,
        scope="search",
        refuses=refusals.LIST,
        parameters=routes_products.ListParameters,
    ),
    Route(
        "POST",
        "/v1/products",
        routes_products.publish,
        "Publish one product or a list",
        answers.PublishAnswer,
        scope="publish",
        refuses=refusals.PUBLISH,
        body=routes_products.ProductBody | list[routes_products.ProductBody],
        examples=PUBLISHED,
        parameters=routes_products.PublishParameters,
        status=202,
    ),
    Route(
        "POST",
        "/v1/products/lookup",
        routes_products.look_up,
        "Look products up by id, dead ones included",
        answers.LookupAnswer,
        scope="search",
        refuses=refusals.LOOKUP,
        body=routes_products.LookupBody,
    ),
    Route(
        "GET",
        "/v1/products/{product_id}",
        routes_products.get,
        "One product as it can be found now",
        answers.ProductAnswer,
        scope="search",
        refuses=refusals.PRODUCT,
    ),
    Route(
        "DELETE",
        "/v1/products/{product_id}",
        routes_products.delete,
        "Delete a product",
        answers.DeleteAnswer,
        scope="publish",
        refuses=refusals.DELETE,
        parameters=routes_products.DeleteParameters,
        status=202,
    ),
    Route(
        "GET",
        "/v1/products/{product_id}/similar",
        routes_search.similar,
        "Products like this one",
        answers.SearchAnswer,
        scope="search",
        refuses=refusals.SIMILAR,
        parameters=routes_search.SimilarParameters,
    ),
    Route(
        "GET",
        "/v1/thumbnails/{content_hash}",
        routes_products.thumbnail,
        "The thumbnail of a picture",
        "image/jpeg",
        scope="search",
        refuses=refusals.THUMBNAIL,
        parameters=routes_products.ThumbnailParameters,
    ),
    Route(
        "GET",
        "/v1/search-quality",
        routes_operations.search_quality,
        "Click-through by position, zero results, conversion",
        answers.QualityAnswer,
        scope="admin",
        refuses=refusals.PARAMETERS,
        parameters=routes_operations.QualityParameters,
    ),
    Route(
        "GET",
        "/v1/status",
        routes_operations.status,
        "Nodes, freshness, products",
        answers.StatusAnswer,
        scope="search",
        refuses=refusals.GUARDED,
    ),
    Route(
        "GET",
        "/v1/events",
        events.events,
        "The index's freshness as server-sent events",
        "text/event-stream",
        scope="search",
        refuses=refusals.EVENTS,
        is_stream=True,
    ),
    Route(
        "GET",
        "/healthz",
        routes_operations.healthz,
        "This process answers",
        _Health,
        scope=None,
        refuses=refusals.OPEN,
    ),
    Route(
        "GET",
        "/readyz",
        routes_operations.readyz,
        "Searches can be answered",
        answers.Ready,
        not_yet=503,
        scope=None,
        refuses=refusals.OPEN,
    ),
    Route(
        "GET",
        "/metrics",
        routes_operations.metrics,
        "Metrics for Prometheus",
        "text/plain",
        scope="admin",
        refuses=refusals.GUARDED,
        is_of_all_tenants=True,
    ),
    Route("GET", "/openapi.json", docs_page.openapi, "This document", _Document, scope=None, refuses=refusals.OPEN),
    Route("GET", "/docs", docs_page.docs, "This document, to read", "text/html", scope=None, refuses=refusals.OPEN),
)
