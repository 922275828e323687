"""Routes to nodes, the shard protocol over HTTP, and asking all shards."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from query_api.shards.cluster import Cluster
from query_api.shards.node_routes import NodeRoutes
from query_api.shards.remote import RemoteShard, open_session
from query_api.shards.scatter import RoutedShards, Scatter, shard_of
from schemas.clock import ManualClock
from schemas.errors import DeadlineExceeded, FilterType, ShardUnavailable
from schemas.identity import ProductKey
from schemas.layout import Layout
from schemas.shard import ShardLookup, ShardProblem, ShardProducts, ShardSearch
from tests.unit.query_api.doubles import FakeDirectory, FakeReplica, FakeShard, lane, shard_product, status_of_node

SEARCH = ShardSearch(lane="main", layout_id="p8s1", tenant="default", k=3)
LOOKUP = ShardLookup(lane="main", layout_id="p8s1", tenant="default", product_ids=("a",))


class TestNodeRoutes:
    def routes(self) -> NodeRoutes:
        return NodeRoutes(lane(), age_max_s=10)

    def order(self, routes: NodeRoutes, now: float = 0.0) -> list[str]:
        return [status.node_id for status in routes.of_shard(0, now)]

    def test_the_better_state_comes_first_and_failures_last(self) -> None:
        routes = self.routes()
        routes.report(status_of_node("slow", state="catching-up"), 0)
        routes.report(status_of_node("second", replica=1), 0)
        routes.report(status_of_node("first"), 0)
        routes.report(status_of_node("starting", state="restoring"), 0)
        assert self.order(routes) == ["first", "second", "slow"]
        routes.failed("first")
        assert self.order(routes) == ["second", "slow", "first"]
        routes.report(status_of_node("first"), 1)
        assert self.order(routes) == ["first", "second", "slow"]

    def test_the_silent_come_last_and_stay(self) -> None:
        routes = self.routes()
        routes.report(status_of_node("old"), 0)
        routes.report(status_of_node("new", replica=5), 50)
        assert self.order(routes, 50) == ["new", "old"]
        assert self.order(routes, 5_000) == ["old", "new"], "all are silent: Kafka is down, and they may well serve"
        assert routes.is_serving(0, 50)
        assert not routes.is_serving(0, 5_000)
        assert not routes.is_serving(1, 50)

    def test_what_was_said_before_anybody_listened_is_no_sign_of_life(self) -> None:
        routes = self.routes()
        routes.report(status_of_node("gone"), None)
        routes.report(status_of_node("alive", replica=5), None)
        assert not routes.is_serving(0, 0)
        routes.report(status_of_node("alive", replica=5), 1)
        assert routes.is_serving(0, 1)
        assert self.order(routes, 1) == ["alive", "gone"]
        routes.report(status_of_node("alive", state="draining"), None)
        assert routes.is_serving(0, 1), "the topic is read again after an interruption; it said more since"

    @pytest.mark.parametrize("foreign", [{"lane": "b"}, {"layout_id": "p16s1"}, {"space": "other:16"}])
    def test_other_lanes_are_none_of_ours(self, foreign: dict[str, object]) -> None:
        routes = self.routes()
        routes.report(status_of_node("n"), 0)
        routes.report(status_of_node("n", **foreign), 0)
        assert self.order(routes) == []

    def test_what_nodes_report_in_sum(self) -> None:
        routes = self.routes()
        routes.report(status_of_node("a", applied={"0": 5, "1": 9}, products=3), 0)
        routes.report(status_of_node("b", replica=1, applied={"0": 7}, products=2), 0)
        routes.report(status_of_node("c", shard=1, applied={"2": 1}, products=4), 0)
        assert routes.applied() == {0: 7, 1: 9, 2: 1}
        assert routes.products() == 7
        routes.forget("c")
        assert routes.products() == 3


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def served(handler: Handler) -> TestServer:
    app = web.Application()
    app.router.add_post("/shard/search", handler)
    app.router.add_post("/shard/lookup", handler)
    server = TestServer(app)
    await server.start_server()
    return server


class TestRemoteShard:
    async def asked(self, handler: Handler, timeout_ms: int = 200) -> object:
        server = await served(handler)
        try:
            async with open_session() as session:
                shard = RemoteShard(session, str(server.make_url("/")))
                return await shard.search(msgspec.structs.replace(SEARCH, timeout_ms=timeout_ms))
        finally:
            await server.close()

    async def test_question_and_answer_travel_whole(self) -> None:
        fake = FakeShard()
        fake.put(shard_product("a", attributes={"tags": ("x", "y"), "n": 3}))

        async def handler(request: web.Request) -> web.Response:
            asked = msgspec.msgpack.decode(await request.read(), type=ShardSearch)
            assert asked == SEARCH
            return web.Response(body=msgspec.msgpack.encode(await fake.search(asked)))

        assert await self.asked(handler) == await fake.search(SEARCH)

    async def test_look_up(self) -> None:
        fake = FakeShard()
        fake.put(shard_product("a"))

        async def handler(request: web.Request) -> web.Response:
            asked = msgspec.msgpack.decode(await request.read(), type=ShardLookup)
            return web.Response(body=msgspec.msgpack.encode(await fake.lookup(asked)))

        server = await served(handler)
        async with open_session() as session:
            found = await RemoteShard(session, str(server.make_url("/"))).lookup(LOOKUP)
        await server.close()
        assert isinstance(found, ShardProducts)
        assert found.products[0].product_id == "a"

    @pytest.mark.parametrize(
        ("status", "code", "error"),
        [
            (400, "filter-type", FilterType),
            (503, "deadline-exceeded", DeadlineExceeded),
            (503, "shard-unavailable", ShardUnavailable),
            (503, "never-heard-of", ShardUnavailable),
        ],
    )
    async def test_a_refusal_is_our_error_again(self, status: int, code: str, error: type[Exception]) -> None:
        async def handler(_: web.Request) -> web.Response:
            return web.Response(status=status, body=msgspec.msgpack.encode(ShardProblem(code, "because")))

        with pytest.raises(error, match="because"):
            await self.asked(handler)

    async def test_an_answer_that_is_none(self) -> None:
        async def handler(_: web.Request) -> web.Response:
            return web.Response(body=b"what?")

        with pytest.raises(ShardUnavailable):
            await self.asked(handler)

    async def test_no_answer_in_time(self) -> None:
        async def handler(_: web.Request) -> web.Response:
            await asyncio.sleep(5)
            return web.Response()

        with pytest.raises(ShardUnavailable, match="Timeout"):
            await self.asked(handler, timeout_ms=1)

    async def test_nobody_there(self) -> None:
        async with open_session() as session:
            with pytest.raises(ShardUnavailable):
                await RemoteShard(session, "http://127.0.0.1:9").search(SEARCH)


class TestScatter:
    async def test_the_next_replica_is_asked(self) -> None:
        dead, alive = FakeReplica(FakeShard(is_dead=True)), FakeReplica(FakeShard())
        found = await Scatter(FakeDirectory([[dead, alive]]), Layout(8, 1)).search(SEARCH)
        assert (found.answered, found.total) == (1, 1)
        assert (dead.failures, alive.failures) == (1, 0)

    async def test_nobody_serves_the_shard(self) -> None:
        with pytest.raises(ShardUnavailable, match="no node serves shard 0"):
            await Scatter(FakeDirectory([[]]), Layout(8, 1)).search(SEARCH)

    async def test_a_failure_is_told_once(self) -> None:
        shard = FakeShard()
        shard.is_dead = True
        replica = FakeReplica(shard)
        with capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(ShardUnavailable):
                    await Scatter(FakeDirectory([[replica]]), Layout(8, 1)).search(SEARCH)
        assert [each["event"] for each in logs] == ["shard unavailable"]

    async def test_a_refusal_is_not_a_failure(self) -> None:
        class Refusing(FakeShard):
            async def search(self, request: ShardSearch):  # type: ignore[no-untyped-def]
                raise FilterType("no")

        replicas = [FakeReplica(Refusing()), FakeReplica(FakeShard(1))]
        with pytest.raises(FilterType):
            await Scatter(FakeDirectory([[replicas[0]], [replicas[1]]]), Layout(8, 2)).search(SEARCH)
        assert replicas[0].failures == 0

    async def test_routes_name_the_nodes(self) -> None:
        cluster = Cluster(lane(), ManualClock(), node_age_max_s=10)
        cluster.learn(statuses=[status_of_node("n1"), status_of_node("n2", replica=1)])
        async with aiohttp.ClientSession() as session:
            directory = RoutedShards(cluster, session)
            first, second = directory.replicas(0)
            assert isinstance(first.shard, RemoteShard)
            assert first.shard.url == "http://n1:1"
            assert first.failed()
            assert not first.failed(), "known already"
            assert directory.replicas(0)[0].shard is second.shard

    def test_shards_hold_their_partitions(self) -> None:
        layout = Layout(8, 3)
        seen = {shard_of(ProductKey("t", f"p{number}"), layout) for number in range(100)}
        assert seen == {0, 1, 2}
