"""The other routes: products, feedback, thumbnails, operations; and what surrounds every request."""

import asyncio
import base64
import json
import uuid
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web
from yarl import URL

from query_api.access.keys import PARTS
from query_api.app import create_app
from query_api.openapi.page import the_document
from query_api.problems import MEDIA_TYPE
from query_api.routes.table import ROUTES
from query_api.settings import Limits
from query_api.shards.scatter import InProcess
from schemas.errors import Backpressure, BrokerUnavailable, StorageError
from schemas.events import ProductAdded, ProductDeleted
from schemas.feedback import Click
from schemas.progress import Position, ReadToken, decode_token
from schemas.tenants import TenantDeclaration
from schemas.versions import VersionKind
from tests.unit.query_api.doubles import JPEG, Api, FakeShard, running_api, shard_product, status_of_node
from topics.thumbnails import put_thumbnails

LINE = {"product_id": "p1", "title": "A mug", "images": [], "price": 9.5}


async def called(api: Api, method: str, path: str, expect: int, **arguments: object) -> dict:
    response = await api.client.request(method, path, **arguments)  # type: ignore[arg-type]
    text = await response.text()
    assert response.status == expect, text
    if expect >= 400:
        assert response.content_type == MEDIA_TYPE
    answer: dict = json.loads(text)
    return answer


class TestPublishing:
    async def test_one_product(self, api: Api) -> None:
        image = {"base64": base64.b64encode(JPEG).decode()}
        line = {"product_id": "p1", "title": "A mug", "image": image, "price": 9.5}
        answer = await called(api, "POST", "/v1/products", 202, json=line)
        (event,) = api.publisher.events
        assert isinstance(event, ProductAdded)
        assert event.content is not None
        assert event.content.pictures[0].inline == JPEG
        assert (answer["accepted"], answer["rejected"]) == (1, 0)
        assert decode_token(answer["read_token"]).positions == (
            Position("cluster:product-added", "product-added", 0, 0),
        )
        assert answer["items"] == [
            {"index": 0, "status": "accepted", "product_id": "p1", "read_token": answer["read_token"]}
        ]

    @pytest.mark.parametrize(("query", "topic"), [("?hot=true", "product-added-hot"), ("?hot=false", "product-added")])
    async def test_the_hot_lane_is_asked_for(self, api: Api, query: str, topic: str) -> None:
        answer = await (await api.client.post(f"/v1/products{query}", json={"product_id": "p1", "price": 9.5})).json()
        assert [position.topic for position in decode_token(answer["read_token"]).positions] == [topic]

    async def test_a_lane_that_is_neither(self, api: Api) -> None:
        response = await api.client.post("/v1/products?hot=perhaps", json={"product_id": "p1", "price": 9.5})
        assert response.status == 400

    async def test_a_list_with_some_bad_items(self, api: Api) -> None:
        lines = [LINE, {"product_id": "p2", "title": "no view"}, "nonsense", {**LINE, "product_id": "p3"}]
        answer = await called(api, "POST", "/v1/products", 202, json=lines)
        assert [event.product_id for event in api.publisher.events] == ["p1", "p3"]
        assert (answer["accepted"], answer["rejected"]) == (2, 2)
        assert [item["status"] for item in answer["items"]] == ["accepted", "rejected", "rejected", "accepted"]
        assert answer["items"][1]["problem"]["code"] == "content-without-view"
        assert answer["items"][2]["problem"]["code"] == "invalid-product"
        assert decode_token(answer["read_token"]).positions[0].offset == 1

    async def test_a_list_with_only_bad_items(self, api: Api) -> None:
        problem = await called(api, "POST", "/v1/products", 400, json=[{"product_id": "p"}, {"title": "x"}])
        assert [item["index"] for item in problem["items"]] == [0, 1]

    @pytest.mark.parametrize(
        ("line", "code"),
        [
            ({"product_id": "p", "image": "file:///etc/passwd"}, "image-refused"),
            ({"product_id": "p", "image": "/etc/passwd"}, "image-refused"),
            ({"product_id": "p", "image": {"uri": "ftp://x/y"}}, "image-refused"),
            ({"product_id": "p", "image": {"base64": "%"}}, "invalid-product"),
            ({"product_id": "p", "title": "t"}, "content-without-view"),
            ({"product_id": ""}, "invalid-product-id"),
            ({"product_id": "p"}, "empty-event"),
            ({**LINE, "version": 7}, "version-out-of-range"),
            ({**LINE, "version": "7"}, "invalid-product"),
            ({**LINE, "price": -1}, "invalid-product"),
            ([], "invalid-query"),
            ("text", "invalid-product"),
            (None, "invalid-product"),
        ],
    )
    async def test_what_is_refused(self, api: Api, line: object, code: str) -> None:
        problem = await called(api, "POST", "/v1/products", 400, data=json.dumps(line), headers=_JSON)
        assert problem["code"] == code
        assert not api.publisher.events

    async def test_http_pictures_go_by_reference(self, api: Api) -> None:
        line = {"product_id": "p", "images": ["https://shop.example/a.jpg", "store://originals/aa"]}
        await called(api, "POST", "/v1/products", 202, json=line)
        (event,) = api.publisher.events
        assert isinstance(event, ProductAdded)
        assert event.content is not None
        assert [picture.uri for picture in event.content.pictures] == line["images"]

    async def test_the_declaration_of_the_tenant_counts(self, api: Api) -> None:
        api.tenants.declared["shop"] = TenantDeclaration("shop", VersionKind.SEQUENCE, volatile=("badge",))
        await called(
            api, "POST", "/v1/products?tenant=shop", 202, json={"product_id": "p", "badge": "new", "version": 3}
        )
        (event,) = api.publisher.events
        assert isinstance(event, ProductAdded)
        assert event.content is None
        assert event.offer is not None
        assert event.offer.attributes == {"badge": "new"}
        problem = await called(api, "POST", "/v1/products?tenant=shop", 400, json={"product_id": "p", "badge": "new"})
        assert problem["code"] == "version-missing"

    async def test_kafka_is_away(self, api: Api) -> None:
        api.publisher.error = BrokerUnavailable("no broker answered")
        problem = await called(api, "POST", "/v1/products", 503, json=LINE)
        assert problem["code"] == "broker-unavailable"

    async def test_delete(self, api: Api) -> None:
        version = 1_795_000_000_000_000
        answer = await called(api, "DELETE", f"/v1/products/a%2Fb?version={version}", 202)
        (event,) = api.publisher.events
        assert isinstance(event, ProductDeleted)
        assert (event.product_id, event.version, event.tenant) == ("a/b", version, "default")
        assert decode_token(answer["read_token"]).positions[0].topic == "product-deleted"

    @pytest.mark.parametrize("query", ["version=soon", "version=-1", "version=12", "versoin=3"])
    async def test_a_delete_that_is_refused(self, api: Api, query: str) -> None:
        await called(api, "DELETE", f"/v1/products/a?{query}", 400)
        assert not api.publisher.events


class TestLooking:
    async def test_one_product(self, api: Api) -> None:
        answer = await called(api, "GET", "/v1/products/a", 200)
        assert answer["product_id"] == "a"
        assert answer["attributes"]["color"] == "red"
        assert answer["content_version"] == 1
        assert answer["thumbnail"].startswith("/v1/thumbnails/0101")

    async def test_a_deleted_product_names_its_version(self, api: Api) -> None:
        problem = await called(api, "GET", "/v1/products/d", 404)
        assert problem["code"] == "not-found"
        assert "deleted at 9" in problem["detail"]

    async def test_pages_of_the_newest(self, api: Api) -> None:
        first = await called(api, "GET", "/v1/products?limit=2", 200)
        assert [product["product_id"] for product in first["products"]] == ["c", "b"]
        assert first["next_offset"] == 2
        second = await called(api, "GET", f"/v1/products?limit=2&offset={first['next_offset']}", 200)
        assert [product["product_id"] for product in second["products"]] == ["a"]
        assert second["next_offset"] is None

    @pytest.mark.parametrize("query", ["limit=0", "limit=x", "offset=-1", "page=2"])
    async def test_pages_that_are_refused(self, api: Api, query: str) -> None:
        await called(api, "GET", f"/v1/products?{query}", 400)

    async def test_look_up(self, api: Api) -> None:
        body = {"product_ids": ["d", "a", "nobody", "a"], "min_offset": ReadToken().encode()}
        answer = await called(api, "POST", "/v1/products/lookup", 200, json=body)
        assert [(each["product_id"], each["visible"]) for each in answer["products"]] == [("d", False), ("a", True)]
        assert answer["products"][0]["deleted_version"] == 9
        assert answer["products"][0]["product"] is None
        assert answer["freshness_met"] is True

    async def test_look_up_over_two_shards(self, tmp_path: Path) -> None:
        async with running_api(tmp_path, shards=2) as api:
            names = [f"p{number}" for number in range(20)]
            for name in names:
                for shard in api.shards:
                    shard.put(shard_product(name))
            answer = await called(api, "POST", "/v1/products/lookup", 200, json={"product_ids": names})
            assert [each["product_id"] for each in answer["products"]] == names
            asked = [set(shard.asked[0].product_ids) for shard in api.shards]
            assert asked[0] | asked[1] == set(names)
            assert not asked[0] & asked[1]
            assert all(asked)

    @pytest.mark.parametrize("body", [{}, {"product_ids": []}, {"product_ids": [""]}, {"product_ids": ["a"], "k": 1}])
    async def test_look_ups_that_are_refused(self, api: Api, body: dict) -> None:
        await called(api, "POST", "/v1/products/lookup", 400, json=body)

    async def test_thumbnail(self, api: Api) -> None:
        put_thumbnails(api.store, "default", "ab" * 16, {256: JPEG})
        response = await api.client.get(f"/v1/thumbnails/{'ab' * 16}?size=256")
        assert response.status == 200
        assert await response.read() == JPEG
        assert response.content_type == "image/jpeg"
        assert "immutable" in response.headers["Cache-Control"]
        etag = response.headers["ETag"]
        again = await api.client.get(f"/v1/thumbnails/{'ab' * 16}", headers={"If-None-Match": etag})
        assert again.status == 304
        await called(api, "GET", f"/v1/thumbnails/{'ab' * 16}?tenant=other", 404)

    @pytest.mark.parametrize(
        ("path", "status"),
        [(f"{'ab' * 16}?size=100", 400), (f"{'ab' * 16}?size=big", 400), ("xyz", 404), ("..%2F..%2Fetc", 404)],
    )
    async def test_thumbnails_that_are_refused(self, api: Api, path: str, status: int) -> None:
        await called(api, "GET", f"/v1/thumbnails/{path}", status)


CLICK = {"query_id": "q1", "product_id": "a", "position": 1, "kind": "click"}


class TestFeedback:
    async def test_a_click_leaves(self, api: Api) -> None:
        body = {**CLICK, "dwell_ms": 900, "session": "s"}
        assert await called(api, "POST", "/v1/feedback?tenant=shop", 202, json=body) == {"accepted": True}
        ((topic, click),) = api.records()
        assert topic == "clicks"
        assert click == Click("q1", "shop", "a", 1, "click", api.clock.now_us(), 900, "s")

    @pytest.mark.parametrize(
        "change",
        [
            {"kind": "stare"},
            {"position": 0},
            {"position": "1"},
            {"query_id": ""},
            {"query_id": "a b"},
            {"product_id": ""},
            {"dwell_ms": -1},
            {"colour": "red"},
            {"kind": None},
        ],
    )
    async def test_what_is_refused(self, api: Api, change: dict) -> None:
        await called(api, "POST", "/v1/feedback", 400, json={**CLICK, **change})
        assert not api.records()

    async def test_a_full_buffer_says_so(self, tmp_path: Path) -> None:
        async with running_api(tmp_path, queued_max=1) as api:
            assert (await called(api, "POST", "/v1/feedback", 202, json=CLICK))["accepted"] is True
            assert (await called(api, "POST", "/v1/feedback", 202, json=CLICK))["accepted"] is False


class TestOperating:
    async def test_health_and_metrics(self, api: Api) -> None:
        assert await called(api, "GET", "/healthz", 200) == {"ok": True}
        response = await api.client.get("/metrics")
        assert await response.text() == "# metrics\n"
        assert response.content_type == "text/plain"

    async def test_ready_needs_shards_and_encoder(self, api: Api) -> None:
        assert await called(api, "GET", "/readyz", 200) == {"ready": True, "missing": []}
        api.encoder.is_dead = True
        api.clock.advance(60)
        response = await api.client.get("/readyz")
        assert response.status == 503
        assert (await response.json())["missing"] == ["shard 0", "encoder"]

    async def test_ready_by_a_shard_of_its_own_that_kafka_has_not_told_of_yet(self, tmp_path: Path) -> None:
        answers = [True]
        own = InProcess(0, FakeShard(0), lambda: answers[0], "n0")
        async with running_api(tmp_path, encoder="none:16", local=own) as api:
            api.clock.advance(60)
            assert (await called(api, "GET", "/readyz", 200))["ready"] is True
            answers[0] = False
            response = await api.client.get("/readyz")
            assert (response.status, (await response.json())["missing"]) == (503, ["shard 0"])

    async def test_ready_without_an_encoder(self, tmp_path: Path) -> None:
        async with running_api(tmp_path, encoder="none:16") as api:
            api.encoder.is_dead = True
            api.cluster.learn(statuses=[status_of_node()])
            assert (await called(api, "GET", "/readyz", 200))["ready"] is True

    async def test_status(self, api: Api) -> None:
        answer = await called(api, "GET", "/v1/status", 200)
        assert answer["products"] == 7
        assert answer["lag_ms"] == 5
        assert answer["shards"] == {"answered": 1, "total": 1}
        assert answer["encoder"] == {"state": "ok", "space": "test:16", "encoder_id": "fake"}
        (node,) = answer["nodes"]
        assert (node["node_id"], node["state"], node["answers"]) == ("n0", "serving", True)
        api.shard.is_dead = True
        assert (await called(api, "GET", "/v1/status", 200))["shards"] == {"answered": 0, "total": 1}

    async def test_search_quality_without_windows(self, api: Api) -> None:
        assert await called(api, "GET", "/v1/search-quality?windows=5", 200) == {"windows": []}
        await called(api, "GET", "/v1/search-quality?windows=many", 400)

    async def test_events_begin_at_once_and_follow_changes(self, api: Api) -> None:
        async with api.client.get("/v1/events") as response:
            assert response.content_type == "text/event-stream"
            first = await asyncio.wait_for(_event(response), 5)
            assert first == {"products": 7, "applied": {"0": 10}, "shards": {"answered": 1, "total": 1}}
            api.cluster.learn(statuses=[status_of_node(products=8)])
            assert (await asyncio.wait_for(_event(response), 5))["products"] == 8

    async def test_event_streams_are_limited(self, tmp_path: Path) -> None:
        async with running_api(tmp_path, limits=Limits(event_streams_max=0)) as api:
            assert (await called(api, "GET", "/v1/events", 503))["code"] == "backpressure"

    async def test_openapi_describes_every_route(self, api: Api) -> None:
        document = await called(api, "GET", "/openapi.json", 200)
        described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
        assert described == {(route.method, route.path) for route in ROUTES}
        body = document["components"]["schemas"]["SearchBody"]
        assert body["additionalProperties"] is False
        assert set(_references(document)) <= {
            f"#/components/schemas/{name}" for name in document["components"]["schemas"]
        }

    async def test_the_docs_page_lists_routes_and_codes(self, api: Api) -> None:
        page = await (await api.client.get("/docs")).text()
        assert "/v1/why-not" in page
        assert 'id="unknown-field"' in page
        assert "<script" not in page
        style = await api.client.get("/docs/docs.css")
        assert (style.status, style.content_type) == (200, "text/css")

    async def test_pages(self, api: Api) -> None:
        for path in ("/", "/analytics"):
            response = await api.client.get(path)
            assert (response.status, response.content_type) == (200, "text/html")
            assert response.headers["Content-Security-Policy"].startswith("default-src 'self'; img-src 'self' data:")
        assert (await api.client.get("/page/main.js")).status == 200
        await called(api, "GET", "/page/nothing.js", 404)
        await called(api, "GET", "/page/..%2fapp.py", 404)


_JSON = {"Content-Type": "application/json"}
_GARBAGE = [b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"\x00" * 100, b"1e999"]
_POSTS = [route.path for route in ROUTES if route.method == "POST"]


class TestSurroundings:
    @pytest.mark.parametrize("path", _POSTS)
    @pytest.mark.parametrize("body", _GARBAGE, ids=[str(number) for number in range(len(_GARBAGE))])
    async def test_garbage_is_the_callers_fault(self, api: Api, path: str, body: bytes) -> None:
        problem = await called(api, "POST", path, 400, data=body, headers=_JSON)
        assert set(problem) >= {"type", "title", "status", "code", "detail"}
        assert problem["status"] == 400
        assert problem["type"] == f"/docs#{problem['code']}"

    @pytest.mark.parametrize("path", _POSTS)
    async def test_another_media_type(self, api: Api, path: str) -> None:
        problem = await called(api, "POST", path, 415, data=b"{}", headers={"Content-Type": "text/plain"})
        assert problem["code"] == "unsupported-media-type"

    @pytest.mark.parametrize("path", _POSTS)
    async def test_a_body_that_is_too_large(self, tmp_path: Path, path: str) -> None:
        async with running_api(tmp_path, limits=Limits(body_bytes_max=2_000)) as api:
            problem = await called(api, "POST", path, 413, data=b" " * 3_000, headers=_JSON)
            assert problem["code"] == "upload-too-large"

    @pytest.mark.parametrize(
        "route",
        [route for route in ROUTES if route.path.startswith("/v1/")],
        ids=lambda route: f"{route.method} {route.path}",
    )
    async def test_a_bad_tenant_on_every_route(self, api: Api, route: object) -> None:
        path = route.path.replace("{product_id}", "a").replace("{content_hash}", "ab" * 16)  # type: ignore[attr-defined]
        body = {"product_id": "a", "query_id": "q", "position": 1, "kind": "click", "images": []}
        if path == "/v1/search":
            body = {"text": "a"}
        if path in ("/v1/explain", "/v1/why-not"):
            body = {"product_id": "a"}
        if path.endswith("lookup"):
            body = {"product_ids": ["a"]}
        if path == "/v1/feedback":
            del body["images"]
        method = route.method  # type: ignore[attr-defined]
        sent = {"json": body} if method == "POST" else {}
        problem = await called(api, method, f"{path}?tenant=NOT_ONE", 400, **sent)
        assert problem["code"] == "invalid-tenant"

    async def test_no_such_route_or_method(self, api: Api) -> None:
        assert (await called(api, "GET", "/v2/search", 404))["code"] == "not-found"
        assert (await called(api, "PUT", "/v1/search", 405))["status"] == 405

    @pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "10.0.0.1:8080", "[::2]"])
    async def test_a_foreign_host_is_refused(self, api: Api, host: str) -> None:
        problem = await called(api, "GET", "/v1/status", 403, headers={"Host": host})
        assert problem["code"] == "host-refused"

    @pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080", "LOCALHOST"])
    async def test_our_own_names_are_served(self, api: Api, host: str) -> None:
        await called(api, "GET", "/healthz", 200, headers={"Host": host})

    async def test_a_page_elsewhere_cannot_write(self, api: Api) -> None:
        headers = {"Host": "localhost:80", "Origin": "https://evil.example"}
        assert (await called(api, "POST", "/v1/products", 403, json=LINE, headers=headers))["code"] == "host-refused"
        headers["Origin"] = "http://localhost:80"
        await called(api, "POST", "/v1/products", 202, json=LINE, headers=headers)

    async def test_headers_on_answers_and_problems(self, api: Api) -> None:
        for path in ("/healthz", "/nothing"):
            response = await api.client.get(path)
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "default-src 'self'" in response.headers["Content-Security-Policy"]

    @pytest.mark.parametrize("error", [StorageError("a secret path"), RuntimeError("a secret path")])
    async def test_our_own_faults_tell_nothing(self, api: Api, error: Exception) -> None:
        api.publisher.error = error
        problem = await called(api, "POST", "/v1/products", 500, json=LINE)
        assert "secret" not in json.dumps(problem)
        assert "Traceback" not in json.dumps(problem)

    async def test_backpressure_asks_to_come_again(self, api: Api) -> None:
        api.publisher.error = Backpressure("full")
        response = await api.client.post("/v1/products", json=LINE)
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"

    async def test_requests_are_counted_by_route(self, api: Api) -> None:
        await called(api, "GET", "/v1/products/a", 200)
        await called(api, "GET", f"/{uuid.uuid4()}", 404)
        key = "freshlens_requests_total"
        assert api.metrics.values[key, (("route", "/v1/products/{product_id}"), ("status", "200"))] == 1
        assert api.metrics.values[key, (("route", "unknown"), ("status", "404"))] == 1


def test_the_document_is_made_of_json() -> None:
    assert json.loads(json.dumps(the_document()))["openapi"] == "3.1.0"


async def test_the_application_can_be_built_twice(api: Api) -> None:
    app = api.client.app
    assert isinstance(app, web.Application)
    parts = app[PARTS]
    assert create_app(parts.settings, parts) is not app


async def _event(response: object) -> dict:
    async for line in response.content:  # type: ignore[attr-defined]
        if line.startswith(b"data: "):
            answer: dict = json.loads(line[6:])
            return answer
    raise AssertionError("the stream ended")


def _references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for each in value.values() for found in _references(each)]
    if isinstance(value, list):
        return [found for each in value for found in _references(each)]
    return []


@pytest.mark.parametrize(
    "product_id", ["a{b}", "{", "a/b", "a%b", "a%2Fb", "ü é", "a?b#c", "a+b", "~", "a;b", "lookup", "//x", "a\\b", "%"]
)
async def test_every_product_id_has_a_path(api: Api, product_id: str) -> None:
    api.shard.put(shard_product(product_id))
    path = f"/v1/products/{quote(product_id, safe='')}"
    response = await api.client.get(URL(path, encoded=True))
    assert (response.status, (await response.json())["product_id"]) == (200, product_id)
    similar = await api.client.get(URL(f"{path}/similar", encoded=True))
    assert product_id not in [each["product_id"] for each in (await similar.json())["results"]]
    deleted = await api.client.delete(URL(path, encoded=True))
    assert (await deleted.json())["product_id"] == product_id
    labels = (("route", "/v1/products/{product_id}"), ("status", "200"))
    assert api.metrics.values["freshlens_requests_total", labels] == 1


async def test_a_batch_answers_each_search_as_if_it_were_alone(api: Api) -> None:
    searches = [{"filter": {"color": "red"}}, {"text": "a", "k": 999}, {"product_id": "nobody"}, {"text": "a", "k": 1}]
    answer = await called(api, "POST", "/v1/search/batch", 200, json={"searches": searches})
    assert [item["status"] for item in answer["answers"]] == [200, 400, 404, 200]
    assert [each["product_id"] for each in answer["answers"][0]["answer"]["results"]] == ["c", "a"]
    assert answer["answers"][2]["problem"]["code"] == "not-found"
    assert "problem" not in answer["answers"][3]
    for wrong in ({"searches": []}, {"searches": [{"text": "a"}] * 65}, {"searches": 1}, {}):
        await called(api, "POST", "/v1/search/batch", 400, json=wrong)


async def test_a_wrong_search_of_a_batch_keeps_none_of_the_others_back(api: Api) -> None:
    searches = [{"txet": "a"}, {"text": "a"}, 7]
    answer = await called(api, "POST", "/v1/search/batch", 200, json={"searches": searches})
    assert [item["status"] for item in answer["answers"]] == [400, 200, 400]
    assert answer["answers"][0]["problem"]["code"] == "unknown-field"
