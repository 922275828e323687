"""Every route, declared once: served by the application, described by the OpenAPI document."""

from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import msgspec
from aiohttp import web

from query_api import docs_page, events
from query_api.access.api_keys import Scope
from query_api.routes import (
    batch as routes_batch,
)
from query_api.routes import (
    operations as routes_operations,
)
from query_api.routes import (
    products as routes_products,
)
from query_api.routes import (
    search as routes_search,
)
from query_api.search_request import ExplainBody, RawParameters, SearchBody
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
        is_of_all_tenants: it tells of all tenants together, so that a key for one of them is not enough.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answer: Any
    _: KW_ONLY
    scope: Scope | None
    body: Any = None
    parameters: type[msgspec.Struct] | None = None
    status: int = 200
    takes_picture: bool = False
    is_stream: bool = False
    is_of_all_tenants: bool = False


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/search",
        routes_search.search,
        "Search by picture, text, both, product, vector or filter",
        answers.SearchAnswer,
        scope="search",
        body=SearchBody,
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
        body=routes_batch.BatchBody,
    ),
    Route(
        "POST",
        "/v1/regions",
        routes_search.regions,
        "Where objects may be in a picture",
        answers.RegionBoxes,
        scope="search",
        body=routes_search.RegionsBody,
    ),
    Route(
        "POST",
        "/v1/explain",
        routes_search.explain,
        "Why a product is where it is",
        answers.Explanation,
        scope="search",
        body=ExplainBody,
    ),
    Route(
        "POST",
        "/v1/why-not",
        routes_search.explain,
        "Why a product is not found, and what would change that",
        answers.Explanation,
        scope="search",
        body=ExplainBody,
    ),
    Route(
        "POST",
        "/v1/feedback",
        routes_search.feedback,
        "Tell what a shopper did with a result",
        answers.FeedbackAnswer,
        scope="feedback",
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
        parameters=routes_products.ListParameters,
    ),
    Route(
        "POST",
        "/v1/products",
        routes_products.publish,
        "Publish one product or a list",
        answers.PublishAnswer,
        scope="publish",
        body=dict[str, Any] | list[dict[str, Any]],
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
        body=routes_products.LookupBody,
    ),
    Route(
        "GET",
        "/v1/products/{product_id}",
        routes_products.get,
        "One product as it can be found now",
        answers.ProductAnswer,
        scope="search",
    ),
    Route(
        "DELETE",
        "/v1/products/{product_id}",
        routes_products.delete,
        "Delete a product",
        answers.DeleteAnswer,
        scope="publish",
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
        parameters=routes_search.SimilarParameters,
    ),
    Route(
        "GET",
        "/v1/thumbnails/{content_hash}",
        routes_products.thumbnail,
        "The thumbnail of a picture",
        "image/jpeg",
        scope="search",
        parameters=routes_products.ThumbnailParameters,
    ),
    Route(
        "GET",
        "/v1/search-quality",
        routes_operations.search_quality,
        "Click-through by position, zero results, conversion",
        answers.QualityAnswer,
        scope="admin",
        parameters=routes_operations.QualityParameters,
    ),
    Route(
        "GET",
        "/v1/status",
        routes_operations.status,
        "Nodes, freshness, products",
        answers.StatusAnswer,
        scope="search",
    ),
    Route(
        "GET",
        "/v1/events",
        events.events,
        "The index's freshness as server-sent events",
        "text/event-stream",
        scope="search",
        is_stream=True,
    ),
    Route("GET", "/healthz", routes_operations.healthz, "This process answers", dict[str, bool], scope=None),
    Route("GET", "/readyz", routes_operations.readyz, "Searches can be answered", answers.Ready, scope=None),
    Route(
        "GET",
        "/metrics",
        routes_operations.metrics,
        "Metrics for Prometheus",
        "text/plain",
        scope="admin",
        is_of_all_tenants=True,
    ),
    Route("GET", "/openapi.json", docs_page.openapi, "This document", dict[str, Any], scope=None),
    Route("GET", "/docs", docs_page.docs, "This document, to read", "text/html", scope=None),
)
