"""Whatever the OpenAPI document allows is answered as it says: no server error, no undescribed status or field."""

import asyncio
import base64
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CheckContext, not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from index_nodes.settings import NodeSettings
from index_nodes.shard import LocalShard
from query_api.openapi.document import document
from query_api.routes.table import ROUTES
from schemas.clock import ManualClock
from schemas.metrics import NullMetrics
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from tests.unit.query_api.doubles import JPEG, Api, lane, running_api, status_of_node, vector_of
from topics.settings import KafkaSettings

LANE = lane()


def code_is_described(ctx: CheckContext, response: Response, case: schemathesis.Case) -> None:
    """A refusal has one of the codes that the document names for its route and status."""
    if response.status_code >= 400 and "problem" in response.headers.get("content-type", [""])[0]:
        content = case.operation.definition.raw["responses"][str(response.status_code)]["content"]
        code = response.json()["code"]
        assert code in content["application/problem+json"]["examples"], f"{code} is not described"


CHECKS = (
    code_is_described,
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
# The stream of events ends with the process only.
SCHEMA = schemathesis.openapi.from_dict(document(ROUTES, "0")).exclude(path="/v1/events")


VECTOR, PICTURE = vector_of("a").tolist(), {"base64": base64.b64encode(JPEG).decode()}
SENSIBLE: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v1/search", {"vector": VECTOR, "facets": ["color", "size", "tags", "is_new", "price"]}),
    ("POST", "/v1/search", {"image": PICTURE, "text": "red", "minus": "blue", "regions": True, "explain": True}),
    ("POST", "/v1/search", {"text": "nothing like it", "limited_matches": True, "diversity": 0.5, "mode": "similar"}),
    ("POST", "/v1/search", {"product_id": "a", "k": 1, "filter": {"any": [{"color": "red"}, {"size": {"gte": 1}}]}}),
    ("POST", "/v1/search", {"filter": {"not": {"tags": "z"}}, "timeout_ms": 20}),
    ("POST", "/v1/search", {"vector": VECTOR, "min_offset": {"topic": "index-log", "partition": 0, "offset": 99}}),
    ("POST", "/v1/search", {"filter": {"colour": "red"}}),
    ("POST", "/v1/search", {"product_id": "nobody"}),
    ("POST", "/v1/search/batch", {"searches": [{"text": "a"}, {"product_id": "nobody"}, {"vector": VECTOR}]}),
    ("POST", "/v1/regions", {"image": PICTURE}),
    ("POST", "/v1/explain", {"product_id": "a", "vector": VECTOR}),
    ("POST", "/v1/why-not", {"product_id": "b", "text": "red"}),
    ("POST", "/v1/feedback", {"query_id": "q-1", "product_id": "a", "position": 1, "kind": "click"}),
    ("POST", "/v1/products", {"product_id": "n", "title": "New", "images": [], "price": 3}),
    ("POST", "/v1/products/lookup", {"product_ids": ["a", "b", "nobody"]}),
]


class Serving:
    """A follower that serves what the index has."""

    def __init__(self, index: Index) -> None:
        self.answering = index.replica


def populated(folder: Path) -> Index:
    """Products of every kind of attribute, one of them deleted."""
    index = Index(folder, LANE)
    for number, name in enumerate(("a", "b", "c{}", "0")):
        attributes: dict[str, Any] = {"color": "red", "size": number, "tags": ("x", "y"), "is_new": number > 1}
        vectors = [vector_of(name)] * (number % 3)
        index.apply(records.content(name, 1, vectors, title=name, attributes=attributes, space=LANE.space))
    index.apply(records.offer("a", 1, 5.0, stock=2), records.delete("b", 9))
    return index


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application over a node in this process, served from a thread of its own."""
    folder = tmp_path_factory.mktemp("api")
    index = populated(folder / "index")
    loop, started, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found: list[str] = []

    async def serve() -> None:
        node = NodeSettings(KafkaSettings("localhost:9092"), LANE, str(folder))
        shard = LocalShard(node, Serving(index), ManualClock(), NullMetrics())  # type: ignore[arg-type]
        async with running_api(folder, node=shard) as api:
            api.cluster.learn(statuses=[status_of_node()])
            found.append(_url(api))
            started.set()
            await stop.wait()
        shard.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(30)
    yield found[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    loop.close()
    index.replica.close()


def _url(api: Api) -> str:
    return str(api.client.make_url("")).rstrip("/")


@SCHEMA.parametrize()
@settings(max_examples=15, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_operation_answers_as_described(case: schemathesis.Case, base_url: str) -> None:
    if case.method.lower() != case.operation.method.lower():
        return  # no operation at all: the router's 405
    case.call_and_validate(base_url=base_url, checks=CHECKS)


@pytest.mark.parametrize(("method", "path", "body"), SENSIBLE)
def test_what_means_something_is_answered_as_described(
    method: str, path: str, body: dict[str, Any], base_url: str
) -> None:
    """What is drawn by chance is nearly always refused, so here is what is not."""
    case = SCHEMA[path][method].Case(body=body, media_type="application/json")
    case.call_and_validate(base_url=base_url, checks=CHECKS)


def test_an_answer_that_is_not_described_is_noticed(base_url: str) -> None:
    lying = document(ROUTES, "0")
    del lying["components"]["schemas"]["SearchAnswer"]["properties"]["results"]["items"]
    lying["components"]["schemas"]["SearchAnswer"]["properties"]["results"]["type"] = "integer"
    case = schemathesis.openapi.from_dict(lying)["/v1/search"]["POST"].Case(
        body={"vector": VECTOR}, media_type="application/json"
    )
    with pytest.raises(BaseExceptionGroup) as caught:
        case.call_and_validate(base_url=base_url, checks=CHECKS)
    assert "violates schema" in str(caught.value.exceptions[0])
