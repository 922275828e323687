"""The API on a real Kafka: what it publishes, what it hears of nodes and workers, what it tells of searches."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from query_api.app import create_app
from query_api.parts import open_parts
from query_api.settings import ApiSettings
from schemas import framing
from schemas.embeddings import Space
from schemas.events import ProductAdded, ProductDeleted
from schemas.feedback import Click, Search, SearchQuality
from schemas.lane import Lane
from schemas.layout import Layout
from schemas.metrics import NullMetrics
from schemas.node_status import NodeStatus
from schemas.progress import ProgressFact, decode_token
from schemas.shard import ShardLookup, ShardSearch
from tests.unit.query_api.doubles import DIM, FakeShard, shard_product, vector_of
from topics import administration, clients, declarations
from topics.settings import KafkaSettings

LANE = Lane("main", Space("test", DIM), Layout(8, 1))
PATIENCE_S = 20.0


@asynccontextmanager
async def node_over(shard: FakeShard) -> AsyncIterator[str]:
    """The shard protocol over HTTP, as a node serves it; yields its address."""

    async def search(request: web.Request) -> web.Response:
        asked = msgspec.msgpack.decode(await request.read(), type=ShardSearch)
        return web.Response(body=msgspec.msgpack.encode(await shard.search(asked)))

    async def lookup(request: web.Request) -> web.Response:
        asked = msgspec.msgpack.decode(await request.read(), type=ShardLookup)
        return web.Response(body=msgspec.msgpack.encode(await shard.lookup(asked)))

    app = web.Application()
    app.router.add_post("/shard/search", search)
    app.router.add_post("/shard/lookup", lookup)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


class Stage:
    """The API over real parts, the shard behind it, and the Kafka between them."""

    def __init__(self, client: TestClient, shard: FakeShard, kafka: KafkaSettings) -> None:
        self.client = client
        self.shard = shard
        self.kafka = kafka
        self.log_id = str(administration.describe_log(clients.admin(kafka), kafka.topic("index-log")))

    def node_says(self, url: str) -> None:
        """A node's report: it serves the shard."""
        status = NodeStatus("n0", url, 0, 0, "p8s1", "main", "test:16", self.log_id, "serving", 1, {"0": 10}, 2, 0, 0)
        self.produce("node-status", status, "n0")

    def produce(self, topic: str, value: msgspec.Struct, key: str) -> None:
        producer = clients.producer(self.kafka)
        producer.produce(self.kafka.topic(topic), framing.CODECS[topic].encode(value), key.encode())
        assert producer.flush(10) == 0

    async def until(self, path: str, wanted: Any, **arguments: Any) -> dict[str, Any]:
        """Ask until the answer is as wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            response = await self.client.request(arguments.pop("method", "GET"), path, **arguments)
            answer: dict[str, Any] = await response.json()
            if wanted(answer):
                return answer
            assert time.monotonic() < deadline, answer
            await asyncio.sleep(0.05)

    async def records(self, topic: str, kind: type[Any], count: int) -> list[Any]:
        """The first records of a topic, decoded."""
        return await asyncio.to_thread(self._records, topic, kind, count)

    def _records(self, topic: str, kind: type[Any], count: int) -> list[Any]:
        consumer = clients.consumer(self.kafka)
        partitions = declarations.TOPICS[topic].partitions
        consumer.assign([TopicPartition(self.kafka.topic(topic), p, OFFSET_BEGINNING) for p in range(partitions)])
        found: list[Any] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(found) < count and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                found.append((message, framing.CODECS[topic].decode(message.value() or b"", kind)))
        consumer.close()
        assert len(found) == count
        return found


@asynccontextmanager
async def api_over(shard: FakeShard, kafka: KafkaSettings, folder: Path) -> AsyncIterator[Stage]:
    """The API on the broker, knowing of no node yet."""
    settings = ApiSettings(kafka, LANE, str(folder / "store"), encoder=f"none:{DIM}")
    async with (
        open_parts(settings, NullMetrics(), lambda: b"") as parts,
        TestClient(TestServer(create_app(settings, parts))) as client,
    ):
        yield Stage(client, shard, kafka)


def two_products() -> FakeShard:
    shard = FakeShard()
    shard.put(shard_product("a"), shard_product("b"))
    return shard


async def until_ready(stage: Stage, url: str) -> None:
    """As of one report that came while it listened; a node gives a sign of life every few seconds."""

    def is_ready(answer: dict[str, Any]) -> bool:
        if not answer["ready"]:
            stage.node_says(url)
        return bool(answer["ready"])

    await stage.until("/readyz", is_ready)


@pytest_asyncio.fixture
async def stage(kafka_settings: KafkaSettings, tmp_path: Path) -> AsyncIterator[Stage]:
    shard = two_products()
    async with node_over(shard) as url, api_over(shard, kafka_settings, tmp_path) as running:
        await until_ready(running, url)
        yield running


SEARCH = {"vector": vector_of("a").tolist(), "k": 1}


async def test_what_a_node_said_before_we_listened_is_no_sign_of_life(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    shard = two_products()
    async with node_over(shard) as url:
        async with api_over(shard, kafka_settings, tmp_path) as before:
            before.node_says(url)
        async with api_over(shard, kafka_settings, tmp_path) as stage:
            status = await stage.until("/v1/status", lambda answer: answer["nodes"])
            assert [(node["state"], node["age_s"]) for node in status["nodes"]] == [("serving", None)]
            assert (await stage.client.get("/readyz")).status == 503, "it may have been killed"
            assert (await stage.client.post("/v1/search", json=SEARCH)).status == 200, "or it may answer: ask it"
            await until_ready(stage, url)


async def test_a_search_and_a_click_become_records(stage: Stage) -> None:
    response = await stage.client.post("/v1/search", json={**SEARCH, "session": "s"})
    answer = await response.json()
    assert [result["product_id"] for result in answer["results"]] == ["a"]
    click = {"query_id": answer["query_id"], "product_id": "a", "position": 1, "kind": "click"}
    assert (await stage.client.post("/v1/feedback", json=click)).status == 202
    ((message, search),) = await stage.records("searches", Search, 1)
    assert (search.query_id, search.modality, search.session) == (answer["query_id"], "vector", "s")
    assert message.key() == answer["query_id"].encode()
    ((_, clicked),) = await stage.records("clicks", Click, 1)
    assert (clicked.query_id, clicked.position, clicked.kind) == (answer["query_id"], 1, "click")


async def test_what_is_published_is_an_event_and_its_token_its_position(stage: Stage) -> None:
    lines = [{"product_id": f"p{number}", "title": "A mug", "images": []} for number in range(3)]
    answer = await (await stage.client.post("/v1/products?tenant=shop", json=lines)).json()
    assert answer["accepted"] == 3
    records = await stage.records("product-added", ProductAdded, 3)
    assert {(event.tenant, event.product_id) for _, event in records} == {("shop", f"p{n}") for n in range(3)}
    tokens = {item["product_id"]: decode_token(item["read_token"]).positions[0] for item in answer["items"]}
    for message, event in records:
        position = tokens[event.product_id]
        assert (position.topic, position.partition, position.offset) == (
            "product-added",
            message.partition(),
            message.offset(),
        )
    deleted = await stage.client.delete("/v1/products/p0?tenant=shop")
    assert deleted.status == 202
    ((_, event),) = await stage.records("product-deleted", ProductDeleted, 1)
    assert (event.tenant, event.product_id) == ("shop", "p0")


async def test_a_token_waits_for_the_fact_that_covers_it(stage: Stage) -> None:
    line = {"product_id": "p", "title": "A mug", "images": []}
    published = await (await stage.client.post("/v1/products", json=line)).json()
    (position,) = decode_token(published["read_token"]).positions
    token = {**SEARCH, "min_offset": published["read_token"]}
    assert (await (await stage.client.post("/v1/search", json=token)).json())["freshness_met"] is False
    waiting = asyncio.create_task(stage.client.post("/v1/search", json={**token, "wait_ms": 15_000, "require": True}))
    fact = ProgressFact("main", position.log_id, "product-added", position.partition, position.offset + 1, {"0": 10})
    await asyncio.to_thread(stage.produce, "index-progress", fact, "product-added/0")
    response = await waiting
    assert response.status == 200, await response.text()
    assert (await response.json())["freshness_met"] is True


async def test_a_token_of_another_cluster_is_refused(stage: Stage) -> None:
    foreign = {"topic": "product-added", "partition": 0, "offset": 3, "log_id": "elsewhere:1"}
    answer = await stage.until(
        "/v1/search", lambda answer: "code" in answer, method="POST", json={**SEARCH, "min_offset": foreign}
    )
    assert answer["code"] == "token-unknown-log"


async def test_search_quality_is_read_from_its_topic(stage: Stage) -> None:
    window = SearchQuality("default", "default", 0, 60_000_000, 1, 10, 1, 2, 5, 1, 0, ())
    await asyncio.to_thread(stage.produce, "search-quality", window, "default/0")
    answer = await stage.until("/v1/search-quality", lambda answer: answer["windows"])
    assert answer["windows"][0]["searches"] == 10


async def test_garbage_on_the_topics_we_read_changes_nothing(stage: Stage) -> None:
    producer = clients.producer(stage.kafka)
    for topic in ("node-status", "index-progress", "search-quality"):
        for value in (b"", b"garbage", b"\xc3\x01" + b"\x00" * 20):
            producer.produce(stage.kafka.topic(topic), value, b"k")
    assert producer.flush(10) == 0
    status = NodeStatus("n1", "http://x", 0, 1, "p8s1", "main", "test:16", stage.log_id, "serving", 1, {}, 9, 0, 0)
    await asyncio.to_thread(stage.produce, "node-status", status, "n1")
    answer = await stage.until("/v1/status", lambda answer: len(answer["nodes"]) == 2)
    assert answer["products"] == 9
    assert (await stage.client.post("/v1/search", json=SEARCH)).status == 200


@pytest.mark.parametrize("size", [1_000, 200_000])
async def test_an_inline_picture_travels_inline_or_by_reference(stage: Stage, size: int) -> None:
    line = {"product_id": "p", "image": {"base64": base64.b64encode(b"x" * size).decode()}}
    assert (await stage.client.post("/v1/products", json=line)).status == 202
    ((_, event),) = await stage.records("product-added", ProductAdded, 1)
    (picture,) = event.content.pictures
    assert (picture.uri or "").startswith("store://") == (size > 64 * 1024)
