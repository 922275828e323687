"""Keys in front of every route: who is let in, for which tenant, to what, how often; and what other origins may do."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientResponse, ClientSession, web
from structlog.testing import capture_logs

from query_api.access import guard
from query_api.access.api_keys import KeyStore, NewKey, Revocation, new_key
from query_api.access.key_ring import KeyRing
from query_api.access.keys import IN_HAND, PARTS
from query_api.app import create_app
from query_api.openapi.page import the_document
from query_api.routes.table import ROUTES, Route
from query_api.serving import runner_of
from query_api.settings import Limits
from schemas.errors import Overloaded
from tests.unit.query_api.doubles import Api, running_api, shard_product, status_of_node
from topics.store import FileStore
from topics.thumbnails import put_thumbnails

OPEN = {"/healthz", "/readyz", "/openapi.json", "/docs", "/", "/analytics", "/page/{name}", "/docs/docs.css"}
LINE = {"product_id": "p1", "title": "A mug", "images": []}
SCOPED = [route for route in ROUTES if route.scope is not None]


@dataclass
class Locked:
    """An application with keys: ``keys`` by name, sent by :meth:`call`."""

    api: Api
    store: KeyStore
    keys: dict[str, NewKey] = field(default_factory=dict)

    def add(self, name: str, *, tenant: str = "shop", scopes: str = "search", **over: object) -> NewKey:
        made = new_key(
            name,
            tenant=tenant,
            scopes=scopes.split(","),
            created_at_us=self.api.clock.now_us(),
            **over,  # type: ignore[arg-type]
        )
        self.store.create(made)
        self.keys[name] = made
        self.ring.refresh()
        return made

    @property
    def ring(self) -> KeyRing:
        ring: KeyRing = self.api.client.app[PARTS].keys  # type: ignore[index]
        return ring

    async def call(self, method: str, path: str, key: str | None = "searching", **over: object) -> ClientResponse:
        headers = {**over.pop("headers", {})}  # type: ignore[dict-item]
        if key is not None:
            headers["Authorization"] = f"Bearer {self.keys[key].text if key in self.keys else key}"
        response: ClientResponse = await self.api.client.request(method, path, headers=headers, **over)  # type: ignore[arg-type]
        return response

    async def refused(self, status: int, method: str, path: str, key: str | None = "searching", **over: object) -> dict:
        response = await self.call(method, path, key, **over)
        problem: dict = await response.json()
        assert response.status == status, problem
        return problem


@pytest_asyncio.fixture
async def locked(tmp_path: Path) -> AsyncIterator[Locked]:
    """Tenants shop and other with a product each, and a key for searching in shop."""
    store = KeyStore(FileStore(tmp_path / "store"))
    async with running_api(tmp_path, keys=KeyRing(store)) as api:
        api.shard.put(shard_product("a", attributes={"color": "red"}), tenant="shop")
        api.shard.put(shard_product("b", attributes={"color": "blue"}), tenant="other")
        api.cluster.learn(statuses=[status_of_node()])
        found = Locked(api, store)
        found.add("searching")
        yield found


def path_of(route: Route) -> str:
    return route.path.replace("{product_id}", "a").replace("{content_hash}", "ab" * 16)


def body_of(route: Route) -> dict[str, object]:
    bodies: dict[str, object] = {
        "/v1/search": {"text": "a"},
        "/v1/search/batch": {"searches": [{"text": "a"}]},
        "/v1/regions": {"image": {"base64": "aGk="}},
        "/v1/explain": {"product_id": "a"},
        "/v1/why-not": {"product_id": "a"},
        "/v1/products": LINE,
        "/v1/products/lookup": {"product_ids": ["a"]},
        "/v1/feedback": {"query_id": "q", "product_id": "a", "position": 1, "kind": "click"},
    }
    return {"json": bodies[route.path]} if route.method == "POST" else {}


class TestWhoIsLetIn:
    async def test_every_route_but_the_open_ones_needs_a_key(self, locked: Locked) -> None:
        app = locked.api.client.app
        assert app is not None
        for route in app.router.routes():
            path = route.resource.canonical  # type: ignore[union-attr]
            if route.method == "HEAD":
                continue
            filled = path.replace("{name}", "main.js").replace("{product_id}", "a").replace("{content_hash}", "ab")
            response = await locked.call(route.method, filled, None)
            assert (response.status == 401) == (path not in OPEN), (route.method, path)

    @pytest.mark.parametrize("route", SCOPED, ids=lambda route: f"{route.method} {route.path}")
    @pytest.mark.parametrize("key", [None, "nonsense", "fl_0123456789ab_" + "A" * 43])
    async def test_nobody_without_a_valid_key(self, locked: Locked, route: Route, key: str | None) -> None:
        response = await locked.call(route.method, path_of(route), key, **body_of(route))
        problem = await response.json()
        assert (response.status, problem["code"]) == (401, "unauthorized")
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert not locked.api.publisher.events
        assert not locked.api.records()
        assert not locked.api.shard.asked

    @pytest.mark.parametrize("route", SCOPED, ids=lambda route: f"{route.method} {route.path}")
    async def test_a_route_needs_its_scope_and_no_other(self, locked: Locked, route: Route) -> None:
        others = ",".join({"search", "feedback", "publish", "admin"} - {str(route.scope)})
        locked.add("others", scopes=others)
        locked.add("operator", tenant="*", scopes=f"admin,{route.scope}")
        problem = await locked.refused(403, route.method, path_of(route), "others", **body_of(route))
        assert problem["code"] == "scope-missing"
        assert str(route.scope) in problem["detail"]
        response = await locked.call(route.method, path_of(route) + "?tenant=shop", "operator", **body_of(route))
        assert response.status in (200, 202, 404), await response.text()
        response.close()

    async def test_a_key_in_the_address_is_none(self, locked: Locked) -> None:
        text = locked.keys["searching"].text
        await locked.refused(401, "GET", f"/v1/products?api_key={text}&key={text}", None)

    async def test_with_keys_any_host_may_be_named(self, locked: Locked) -> None:
        response = await locked.call("GET", "/v1/products", headers={"Host": "search.example"})
        assert response.status == 200

    async def test_the_first_key_closes_and_a_revocation_counts_without_a_restart(self, tmp_path: Path) -> None:
        store = KeyStore(FileStore(tmp_path / "store"))
        async with running_api(tmp_path, keys=KeyRing(store)) as api:
            assert (await api.client.get("/v1/products")).status == 200
            locked = Locked(api, store)
            made = locked.add("first", tenant="default")
            assert (await api.client.get("/v1/products")).status == 401
            assert (await locked.call("GET", "/v1/products", "first")).status == 200
            store.revoke(made.key.id, Revocation(api.clock.now_us()))
            locked.ring.refresh()
            await locked.refused(401, "GET", "/v1/products", "first")
            assert (await api.client.get("/v1/products")).status == 401, "the last key is gone, and nothing opens"

    async def test_keys_are_read_again_while_it_runs(self, tmp_path: Path) -> None:
        store = KeyStore(FileStore(tmp_path / "store"))
        async with running_api(tmp_path, keys=KeyRing(store), keys_poll_s=0.001) as api:
            store.create(new_key("first", tenant="shop", scopes=["search"], created_at_us=1))
            while (await api.client.get("/v1/products")).status != 401:
                await asyncio.sleep(0)


class TestTenants:
    async def test_the_key_says_the_tenant(self, locked: Locked) -> None:
        for path in ("/v1/products", "/v1/products?tenant=shop"):
            answer = await (await locked.call("GET", path)).json()
            assert [product["product_id"] for product in answer["products"]] == ["a"]

    @pytest.mark.parametrize("route", SCOPED, ids=lambda route: f"{route.method} {route.path}")
    @pytest.mark.parametrize("tenant", ["other", "default", "demo"])
    async def test_naming_another_one_is_refused(self, locked: Locked, route: Route, tenant: str) -> None:
        locked.add("all", scopes="search,feedback,publish,admin")
        path = f"{path_of(route)}?tenant={tenant}"
        problem = await locked.refused(403, route.method, path, "all", **body_of(route))
        assert problem["code"] == "tenant-refused"
        assert not locked.api.publisher.events

    async def test_a_name_that_is_none_is_told_so(self, locked: Locked) -> None:
        assert (await locked.refused(400, "GET", "/v1/products?tenant=*"))["code"] == "invalid-tenant"

    async def test_an_operator_names_any(self, locked: Locked) -> None:
        locked.add("operator", tenant="*", scopes="search,admin")
        for tenant, product in (("shop", "a"), ("other", "b")):
            answer = await (await locked.call("GET", f"/v1/products?tenant={tenant}", "operator")).json()
            assert [each["product_id"] for each in answer["products"]] == [product]
        assert (await (await locked.call("GET", "/v1/products", "operator")).json())["products"] == []

    async def test_what_counts_all_tenants_is_for_operators(self, locked: Locked) -> None:
        locked.add("admin", scopes="search,admin")
        locked.add("operator", tenant="*", scopes="search,admin")
        assert (await locked.refused(403, "GET", "/metrics", "admin"))["code"] == "tenant-refused"
        assert (await locked.call("GET", "/metrics", "operator")).status == 200
        own = await (await locked.call("GET", "/v1/status", "admin")).json()
        assert (own["products"], own["nodes"], own["facts"]) == (None, [], None)
        assert own["freshness"]
        of_all = await (await locked.call("GET", "/v1/status", "operator")).json()
        assert (of_all["products"], len(of_all["nodes"]), of_all["facts"]) == (7, 1, 0)

    async def test_pictures_in_our_store_cannot_be_named(self, locked: Locked) -> None:
        """Originals are kept by content: with a hash of another tenant's picture one would have its thumbnails."""
        locked.add("publishing", scopes="publish")
        for image in ("store://originals/" + "ab" * 16, {"uri": "store://originals/" + "ab" * 16}):
            line = {"product_id": "p", "image": image}
            problem = await locked.refused(400, "POST", "/v1/products", "publishing", json=line)
            assert problem["code"] == "image-refused"
        for video in ("store://originals/" + "ab" * 16, "file:///srv/a.mp4", "s3://bucket/a.mp4"):
            line = {"product_id": "p", "images": [], "videos": [video]}
            problem = await locked.refused(400, "POST", "/v1/products", "publishing", json=line)
            assert problem["code"] == "image-refused"
        assert not locked.api.publisher.events

    async def test_a_thumbnail_is_the_tenants(self, locked: Locked) -> None:
        put_thumbnails(locked.api.store, "other", "ab" * 16, {256: b"of the other"})
        await locked.refused(404, "GET", f"/v1/thumbnails/{'ab' * 16}")
        put_thumbnails(locked.api.store, "shop", "ab" * 16, {256: b"of the shop"})
        response = await locked.call("GET", f"/v1/thumbnails/{'ab' * 16}")
        assert await response.read() == b"of the shop"


class TestEvents:
    async def test_one_tenant_is_told_no_count_of_all(self, locked: Locked) -> None:
        response = await locked.call("GET", "/v1/events")
        assert (await asyncio.wait_for(_event(response), 5))["products"] is None
        response.close()

    async def test_a_stream_ends_with_its_key(self, locked: Locked) -> None:
        response = await locked.call("GET", "/v1/events")
        await asyncio.wait_for(_event(response), 5)
        locked.store.revoke(locked.keys["searching"].key.id, Revocation(1))
        locked.ring.refresh()
        locked.api.cluster.learn(statuses=[status_of_node(applied={"0": 99})])
        rest = await asyncio.wait_for(response.content.read(), 5)
        assert b"data:" not in rest

    async def test_a_stream_of_before_the_first_key_ends(self, tmp_path: Path) -> None:
        store = KeyStore(FileStore(tmp_path / "store"))
        async with running_api(tmp_path, keys=KeyRing(store)) as api:
            response = await api.client.get("/v1/events")
            await asyncio.wait_for(_event(response), 5)
            Locked(api, store).add("first")
            api.cluster.learn(statuses=[status_of_node(products=99)])
            assert b"data:" not in await asyncio.wait_for(response.content.read(), 5)


class TestLimits:
    async def test_too_fast(self, locked: Locked) -> None:
        locked.add("slow", rate_per_s=0.4)
        assert (await locked.call("GET", "/v1/products", "slow")).status == 200
        response = await locked.call("GET", "/v1/products", "slow")
        assert (response.status, (await response.json())["code"]) == (429, "rate-limited")
        assert response.headers["Retry-After"] == "3"
        locked.api.clock.advance(3)
        assert (await locked.call("GET", "/v1/products", "slow")).status == 200

    async def test_too_many_a_day(self, locked: Locked) -> None:
        locked.add("few", quota_per_day=1)
        assert (await locked.call("GET", "/v1/products", "few")).status == 200
        response = await locked.call("GET", "/v1/products", "few")
        assert (response.status, (await response.json())["code"]) == (429, "quota-used")
        assert 0 < int(response.headers["Retry-After"]) <= 86_400
        locked.api.clock.advance(int(response.headers["Retry-After"]))
        assert (await locked.call("GET", "/v1/products", "few")).status == 200

    async def test_what_is_refused_for_another_reason_is_not_counted(self, locked: Locked) -> None:
        locked.add("few", quota_per_day=1)
        await locked.refused(403, "GET", "/v1/products?tenant=other", "few")
        await locked.refused(403, "DELETE", "/v1/products/a", "few")
        assert (await locked.call("GET", "/v1/products", "few")).status == 200

    async def test_what_an_overloaded_process_refuses_is_not_counted(self, tmp_path: Path) -> None:
        store = KeyStore(FileStore(tmp_path / "store"))
        async with running_api(tmp_path, keys=KeyRing(store), limits=Limits(requests_max=1)) as api:
            locked = Locked(api, store)
            locked.add("few", tenant="default", quota_per_day=1)
            assert api.client.app is not None
            with api.client.app[IN_HAND]["search"]:
                assert (await locked.refused(503, "GET", "/v1/products", "few"))["code"] == "overloaded"
            assert (await locked.call("GET", "/v1/products", "few")).status == 200

    async def test_one_too_many_at_the_same_time(self, tmp_path: Path) -> None:
        async with running_api(tmp_path, limits=Limits(requests_max=1)) as api:
            app = api.client.app
            assert app is not None
            with app[IN_HAND]["search"]:
                response = await api.client.get("/v1/products")
                assert (response.status, (await response.json())["code"]) == (503, Overloaded.code)
                assert response.headers["Retry-After"] == "1"
                assert (await api.client.get("/healthz")).status == 200
                assert (await api.client.get("/")).status == 200
            assert (await api.client.get("/v1/products")).status == 200
            assert (await api.client.get("/v1/products/nobody")).status == 404
            assert app[IN_HAND]["search"].count == 0

    async def test_those_who_publish_while_kafka_is_away_refuse_nobody_a_search(self, tmp_path: Path) -> None:
        async with running_api(tmp_path, limits=Limits(requests_max=1)) as api:
            api.publisher.is_away = True
            waiting = asyncio.create_task(api.client.post("/v1/products", json={"product_id": "a", "price": 1}))
            await asyncio.wait_for(api.publisher.asked.wait(), 30)
            assert (await api.client.delete("/v1/products/a")).status == 503
            assert (await api.client.get("/v1/products")).status == 200
            waiting.cancel()

    async def test_who_hangs_up_is_not_worked_for(self, tmp_path: Path) -> None:
        async with running_api(tmp_path, limits=Limits(requests_max=1)) as api:
            api.publisher.is_away = True
            parts = api.client.app[PARTS]  # type: ignore[index]
            runner = runner_of(app := create_app(parts.settings, parts))  # as the process serves it
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/products"
            async with ClientSession() as session:
                left = asyncio.create_task(session.post(url, json={"product_id": "a", "price": 1}))
                await asyncio.wait_for(api.publisher.asked.wait(), 30)
                assert app[IN_HAND]["publish"].count == 1
                left.cancel()
                async with asyncio.timeout(30):
                    while app[IN_HAND]["publish"].count:
                        await asyncio.sleep(0.01)
            await runner.cleanup()

    async def test_a_body_that_never_comes_keeps_nobody_out(
        self, locked: Locked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guard, "BODY_TIMEOUT_S", 0.0)
        answered = asyncio.Event()

        async def dripping() -> AsyncIterator[bytes]:
            yield b"{"
            await answered.wait()

        response = await locked.call("POST", "/v1/search", data=dripping())
        assert response.status == 408
        assert "did not arrive" in (await response.json())["detail"]
        answered.set()
        assert locked.api.client.app is not None
        assert locked.api.client.app[IN_HAND]["search"].count == 0


SHOP = "https://shop.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


class TestOtherOrigins:
    @pytest_asyncio.fixture
    async def api(self, tmp_path: Path) -> AsyncIterator[Api]:
        async with running_api(tmp_path, cors_origins=(SHOP,)) as running:
            yield running

    async def test_a_preflight_of_one_that_may(self, api: Api) -> None:
        response = await api.client.options("/v1/search", headers={**PREFLIGHT, "Origin": SHOP})
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == SHOP
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        assert "Access-Control-Allow-Credentials" not in response.headers

    @pytest.mark.parametrize(
        "origin", ["https://evil.example", "null", "https://shop.example.evil", "http://shop.example"]
    )
    async def test_others_may_not(self, api: Api, origin: str) -> None:
        for response in (
            await api.client.options("/v1/search", headers={**PREFLIGHT, "Origin": origin}),
            await api.client.get("/v1/products", headers={"Origin": origin}),
        ):
            assert not [name for name in response.headers if name.startswith("Access-Control")]
            assert response.headers["Vary"] == "Origin"
        assert response.status == 200
        wrote = await api.client.post("/v1/products", json=LINE, headers={"Origin": origin})
        assert wrote.status == 403

    async def test_answers_problems_and_streams_can_be_read(self, api: Api) -> None:
        for path in ("/v1/products", "/v1/products/nobody", "/nothing", "/v1/events"):
            response = await api.client.get(path, headers={"Origin": SHOP})
            assert response.headers["Access-Control-Allow-Origin"] == SHOP, path
            response.close()
        wrote = await api.client.post("/v1/products", json=LINE, headers={"Origin": SHOP})
        assert wrote.status == 202

    async def test_without_the_setting_nobody_may(self, locked: Locked) -> None:
        response = await locked.call("GET", "/v1/products", headers={"Origin": SHOP})
        assert not [name for name in response.headers if name.startswith("Access-Control")]
        assert (await locked.call("OPTIONS", "/v1/search", None, headers={**PREFLIGHT, "Origin": SHOP})).status == 405


class TestHeaders:
    @pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/v1/products", "/nothing"])
    async def test_on_every_answer(self, locked: Locked, path: str) -> None:
        headers = (await locked.call("GET", path, None)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "aiohttp" not in str(headers)
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]


class TestRecord:
    async def test_changes_of_an_admin_leave_a_line(self, locked: Locked) -> None:
        made = locked.add("admin", scopes="publish,search,admin")
        locked.add("feed", scopes="publish")
        with capture_logs() as logs:
            await locked.call("POST", "/v1/products", "admin", json=LINE)
            await locked.call("DELETE", "/v1/products/a", "admin")
            await locked.call("GET", "/v1/products/a", "admin")
            await locked.call("DELETE", "/v1/products/a", "feed")
        lines = [{**entry} for entry in logs if entry["event"] == "audit"]
        assert [(line["action"], line["object"], line["status"]) for line in lines] == [
            ("POST /v1/products", None, 202),
            ("DELETE /v1/products/{product_id}", "a", 202),
        ]
        assert {(line["key"], line["tenant"]) for line in lines} == {(made.key.id, "shop")}
        assert made.text not in json.dumps(lines)

    async def test_a_change_leaves_a_line_though_the_admin_hangs_up(self, locked: Locked) -> None:
        locked.add("admin", scopes="publish,search,admin")
        publisher, in_hand = locked.api.publisher, locked.api.client.app[IN_HAND]["publish"]  # type: ignore[index]
        publisher.is_away = True
        with capture_logs() as logs:
            left = asyncio.create_task(locked.call("DELETE", "/v1/products/a", "admin"))
            await asyncio.wait_for(publisher.asked.wait(), 30)
            left.cancel()
            async with asyncio.timeout(30):
                while in_hand.count:
                    await asyncio.sleep(0.01)
        assert [(line["action"], line["status"]) for line in logs if line["event"] == "audit"] == [
            ("DELETE /v1/products/{product_id}", 499)
        ]


class TestDocument:
    def test_it_names_the_scope_of_each_route_and_what_a_key_may_meet(self) -> None:
        document = the_document()
        scheme = document["components"]["securitySchemes"]["key"]
        assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
        for route in ROUTES:
            operation = document["paths"][route.path][route.method.lower()]
            assert operation["security"] == ([] if route.scope is None else [{"key": [route.scope]}])
            assert (route.scope is not None) == ({"401", "403", "429", "503"} <= operation["responses"].keys())
        assert "Retry-After" in document["paths"]["/v1/search"]["post"]["responses"]["429"]["headers"]


async def _event(response: ClientResponse) -> dict:
    async for line in response.content:
        if line.startswith(b"data: "):
            event: dict = json.loads(line[6:])
            return event
    raise AssertionError("the stream ended")
