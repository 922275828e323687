"""An index node on real Kafka: records in, found; and what happens to it."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import aiohttp
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from confluent_kafka.admin import AdminClient

from freshlens.cli import cli
from index_nodes import node
from index_nodes.compaction.compaction import CompactionReport, compact_once
from index_nodes.compaction.publication import roll_back
from index_nodes.replicas.log import KafkaLog
from index_nodes.settings import NodeSettings
from index_nodes.status import read_statuses
from schemas.embeddings import Space
from schemas.errors import LayoutChanged, LogChanged, ManifestCorrupt, SettingsError
from schemas.filters import AnyOf
from schemas.framing import INDEX_LOG
from schemas.identity import partition_of
from schemas.index_log import IndexLogRecord
from schemas.layout import Layout
from schemas.metrics import RecordingMetrics
from schemas.shard import ShardAnswer, ShardLookup, ShardProblem, ShardProducts, ShardSearch
from tests.unit.index_nodes import records
from topics import administration, clients
from topics.declarations import INDEX_LOG as INDEX_LOG_TOPIC
from topics.settings import KafkaSettings
from topics.store import open_store

LAYOUT = Layout()
LANE = replace(records.lane_of(), layout=LAYOUT)


class Publisher:
    """Writes records where the layout wants them, and says how far a node must be to have them."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._topic = settings.topic(INDEX_LOG_TOPIC)
        self._producer = clients.producer(settings)

    def send(self, *items: IndexLogRecord) -> dict[int, int]:
        """The offsets after these records."""
        return self.send_raw((partition_of(item.key, LAYOUT.partitions), INDEX_LOG.encode(item)) for item in items)

    def send_raw(self, items: Iterable[tuple[int, bytes]]) -> dict[int, int]:
        reached: dict[int, int] = {}

        def done(error: object, message: object) -> None:
            assert error is None, error
            partition, offset = message.partition(), message.offset()  # type: ignore[attr-defined]
            reached[partition] = max(reached.get(partition, 0), offset + 1)

        for partition, raw in items:
            while True:
                try:
                    self._producer.produce(self._topic, raw, partition=partition, on_delivery=done)
                    break
                except BufferError:
                    self._producer.poll(0.1)
        assert self._producer.flush(60) == 0
        return reached


class Node:
    """A node of this process, with a client of its HTTP port."""

    def __init__(self, url: str, session: aiohttp.ClientSession, task: "asyncio.Task[None]") -> None:
        self.url, self.task = url, task
        self._session = session

    async def ask(self, path: str, request: msgspec.Struct) -> tuple[int, bytes]:
        async with self._session.post(self.url + path, data=msgspec.msgpack.encode(request)) as response:
            return response.status, await response.read()

    async def search(self, **over: object) -> ShardAnswer:
        status, raw = await self.ask("/shard/search", request(**over))
        assert status == 200, raw
        return msgspec.msgpack.decode(raw, type=ShardAnswer)

    async def lookup(self, *ids: str, **over: object) -> ShardProducts:
        asked = ShardLookup(lane=LANE.name, layout_id=LAYOUT.layout_id, tenant="default", product_ids=ids, **over)  # type: ignore[arg-type]
        status, raw = await self.ask("/shard/lookup", asked)
        assert status == 200, raw
        return msgspec.msgpack.decode(raw, type=ShardProducts)


def request(**over: object) -> ShardSearch:
    values = {"lane": LANE.name, "layout_id": LAYOUT.layout_id, "tenant": "default", "wait_ms": 10_000, **over}
    return msgspec.convert(values, ShardSearch)


def settings_of(kafka: KafkaSettings, folder: Path) -> NodeSettings:
    return NodeSettings(kafka=kafka, lane=LANE, store=str(folder / "store"), node_id="n0", heads_poll_s=0.2)


@contextlib.asynccontextmanager
async def running(settings: NodeSettings) -> AsyncIterator[Node]:
    """A node that is ready; it stops cleanly at the end."""
    stopping, ready, port = asyncio.Event(), asyncio.Event(), free_port()
    settings = replace(settings, port=port)
    task = asyncio.create_task(node.serve(settings, RecordingMetrics(), ready.set, stopping))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        task.result()
    assert ready.is_set(), "the node did not become ready"
    async with aiohttp.ClientSession() as session:
        yield Node(f"http://127.0.0.1:{port}", session, task)
    stopping.set()
    await task


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_record_is_found_and_a_delete_takes_it_away(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    publisher = Publisher(kafka_settings)
    red, blue = records.picture(1), records.picture(2)
    early = publisher.send(records.content("early", 1, [red], title="Early"))
    async with running(settings_of(kafka_settings, tmp_path)) as shard:
        answer = await shard.search(vector=red.tobytes())
        assert [hit.product_id for hit in answer.hits] == ["early"], "ready means: what was there is found"
        assert answer.state.applied[next(iter(early))] == next(iter(early.values()))
        reached = publisher.send(records.content("late", 1, [blue]), records.offer("late", 2, 9.5))
        answer = await shard.search(vector=blue.tobytes(), min_applied=reached, k=1)
        assert answer.freshness_met
        assert (answer.hits[0].product_id, answer.hits[0].price) == ("late", 9.5)
        assert answer.hits[0].similarity == pytest.approx(1, abs=1e-3)
        reached = publisher.send(records.delete("late", 3))
        answer = await shard.search(vector=blue.tobytes(), min_applied=reached)
        assert [hit.product_id for hit in answer.hits] == ["early"]
        products = (await shard.lookup("late", "early", "never", with_vectors=True)).products
        assert [(each.product_id, each.visible, len(each.vectors)) for each in products] == [
            ("late", False, 0),
            ("early", True, 1),
        ]
    async with running(settings_of(kafka_settings, tmp_path)) as shard:
        answer = await shard.search(vector=blue.tobytes())
        assert [hit.product_id for hit in answer.hits] == ["early"], "a restart changes nothing"


async def test_a_compaction_is_swapped_in_under_load(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    """No query of a running loop fails or misses a product that is alive throughout."""
    publisher, settings = Publisher(kafka_settings), settings_of(kafka_settings, tmp_path)
    pictures = [records.picture(seed) for seed in range(300)]
    publisher.send(*(records.content(f"p{number}", 1, [vector]) for number, vector in enumerate(pictures)))
    async with running(settings) as shard:
        looping = True

        async def query() -> int:
            asked = 0
            while looping:
                number = asked % 100  # these are never touched
                answer = await shard.search(vector=pictures[number].tobytes(), k=1)
                assert [hit.product_id for hit in answer.hits] == [f"p{number}"]
                asked += 1
            return asked

        load = asyncio.create_task(query())
        for round_number in range(3):
            reached = publisher.send(
                *(records.delete(f"p{number}", 9) for number in range(100 + round_number, 300, 7)),
                *(records.offer(f"p{number}", 2 + round_number, float(round_number)) for number in range(50)),
            )
            report = await asyncio.to_thread(compact, settings)
            assert report.head is not None
            await served(shard, report.head.seq)
            answer = await shard.search(vector=pictures[0].tobytes(), k=1, min_applied=reached)
            assert (answer.hits[0].price, answer.hits[0].source) == (float(round_number), "main")
        looping = False
        assert await load > 10
        gone = {number for start in range(3) for number in range(100 + start, 300, 7)}
        everything = await shard.search(vector=pictures[0].tobytes(), k=1000)
        assert {hit.product_id for hit in everything.hits} == {f"p{n}" for n in range(300) if n not in gone}
        state = everything.state
        head = await asyncio.to_thread(roll_back, KafkaLog(kafka_settings), open_store(settings.store), LANE, 0, 1)
        await served(shard, head.seq)
        after = await shard.search(vector=pictures[0].tobytes(), k=1000)
        assert {hit.product_id for hit in after.hits} == {hit.product_id for hit in everything.hits}
        assert after.state.applied == state.applied, "a rollback takes nothing back but the build"


def compact(settings: NodeSettings) -> CompactionReport:
    return compact_once(KafkaLog(settings.kafka), open_store(settings.store), LANE, 0)


async def served(shard: Node, seq: int) -> None:
    """Wait until the node serves this head."""
    async with asyncio.timeout(30):
        while (await shard.lookup()).state.generation < seq:
            await asyncio.sleep(0.05)


async def test_another_log_stops_the_node(kafka_settings: KafkaSettings, admin: AdminClient, tmp_path: Path) -> None:
    """The topic is deleted and created again under a running node, and grows beyond what the node had read."""
    publisher, settings = Publisher(kafka_settings), settings_of(kafka_settings, tmp_path)
    publisher.send(records.content("p", 1, [records.picture(1)]))
    with pytest.raises(LogChanged):  # noqa: PT012 - the node ends while it is used
        async with running(settings) as shard:
            topic = kafka_settings.topic(INDEX_LOG_TOPIC)
            await asyncio.to_thread(lambda: admin.delete_topics([topic])[topic].result())
            await asyncio.to_thread(created_again, kafka_settings, admin)
            Publisher(kafka_settings).send(*(records.content(f"q{n}", 1, [records.picture(n)]) for n in range(50)))
            await asyncio.wait({shard.task}, timeout=30)


def created_again(settings: KafkaSettings, admin: AdminClient) -> None:
    for _ in range(100):
        with contextlib.suppress(SettingsError):  # it is listed, and on its way out
            if settings.topic(INDEX_LOG_TOPIC) in administration.create_topics(admin, settings, LAYOUT):
                return
        time.sleep(0.1)
    raise AssertionError("the topic could not be created again")


async def test_another_number_of_partitions_is_refused(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    settings = replace(settings_of(kafka_settings, tmp_path), lane=replace(LANE, layout=Layout(partitions=4)))
    with pytest.raises(LayoutChanged):
        async with running(settings):
            pass


async def test_a_killed_node_comes_back_with_everything(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    publisher, settings = Publisher(kafka_settings), replace(settings_of(kafka_settings, tmp_path), port=free_port())
    async with aiohttp.ClientSession() as session:
        for round_number in range(2):
            process = served_process(settings)
            try:
                shard = Node(f"http://127.0.0.1:{settings.port}", session, asyncio.current_task())  # type: ignore[arg-type]
                await ready(session, shard.url)
                reached = publisher.send(
                    records.content(f"p{round_number}", 1, [records.picture(round_number)]),
                    records.delete("p0", 5) if round_number else records.offer("p0", 1, 3.0),
                )
                answer = await shard.search(vector=records.picture(round_number).tobytes(), min_applied=reached)
                assert answer.freshness_met
                assert [hit.product_id for hit in answer.hits] == [f"p{round_number}"]
                if not round_number:
                    await asyncio.to_thread(compact, settings)
            finally:
                process.kill()
                process.wait()


def served_process(settings: NodeSettings) -> subprocess.Popen[bytes]:
    environ = {
        **os.environ,
        **settings.kafka.environment(),
        "FRESHLENS_SPACE": str(LANE.space),
        "FRESHLENS_STORE": settings.store,
        "FRESHLENS_NODE_PORT": str(settings.port),
    }
    return subprocess.Popen([sys.executable, "-m", "freshlens", "serve", "node"], env=environ, stdin=subprocess.DEVNULL)


async def ready(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}/readyz") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.1)


async def test_what_is_refused_says_why(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    publisher, settings = Publisher(kafka_settings), settings_of(kafka_settings, tmp_path)
    publisher.send(records.content("p", 1, [records.picture(1)], attributes={"size": 3}))
    wrong = [
        (request(lane="other"), 503, "shard-unavailable"),
        (request(k=0), 400, "invalid-query"),
        (request(vector=b"123"), 400, "invalid-query"),
    ]
    async with running(settings) as shard:
        for asked, status, code in wrong:
            found, raw = await shard.ask("/shard/search", asked)
            assert (found, msgspec.msgpack.decode(raw, type=ShardProblem).code) == (status, code)
        assert (await shard.search(tenant="nobody", filter=AnyOf("colour", ("red",)))).hits == ()
        late = await shard.search(min_applied={0: 10**9}, wait_ms=50)
        assert not late.freshness_met


async def test_void_records_are_passed_over_and_unreadable_ones_stop_applying(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    publisher, settings = Publisher(kafka_settings), settings_of(kafka_settings, tmp_path)
    async with running(settings) as shard:
        publisher.send_raw([(0, b"garbage")])
        reached = publisher.send(records.content("p", 1, [records.picture(1)]))
        assert (await shard.search(min_applied=reached)).freshness_met
        publisher.send_raw((partition, b"\xc3\x01" + b"newer...") for partition in range(LAYOUT.partitions))
        async with asyncio.timeout(10):
            while not (await shard.lookup()).state.stale:
                await asyncio.sleep(0.05)
        answer = await shard.search(vector=records.picture(1).tobytes())
        assert [hit.product_id for hit in answer.hits] == ["p"], "it goes on answering, and says that it is stale"
        assert answer.state.stale


async def test_the_node_says_what_it_serves(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    publisher, settings = Publisher(kafka_settings), settings_of(kafka_settings, tmp_path)
    async with running(settings) as shard:
        reached = publisher.send(records.content("p", 1, [records.picture(1)]))
        await shard.search(min_applied=reached)
        await asyncio.sleep(1)
        status = (await asyncio.to_thread(read_statuses, kafka_settings))["n0"]
        assert (status.url, status.state, status.products, status.generation) == (shard.url, "serving", 1, 0)
        assert {partition: status.applied[str(partition)] for partition in reached} == reached
    status = read_statuses(kafka_settings)["n0"]
    assert status.state == "stopped"


async def test_twenty_thousand_vectors_are_found_after_a_compaction(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    """recall@10 of at least 0.95 on 200 queries (seed 7) near 20,000 clustered vectors of 384 dimensions."""
    space = Space("given-384", 384)
    lane = replace(LANE, space=space)
    publisher, settings = Publisher(kafka_settings), replace(settings_of(kafka_settings, tmp_path), lane=lane)
    random = np.random.default_rng(7)
    centres = random.standard_normal((400, 384))
    vectors = centres[random.integers(0, 400, 20_000)] + 0.9 * random.standard_normal((20_000, 384))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    publisher.send(*(records.content(f"p{n}", 1, [vector], space=space) for n, vector in enumerate(vectors)))
    report = await asyncio.to_thread(compact_once, KafkaLog(kafka_settings), open_store(settings.store), lane, 0)
    assert report.manifest is not None
    assert report.manifest.rows == 20_000
    async with running(settings) as shard:
        found = 0
        for row in random.integers(0, 20_000, 200):
            query = records.unit(vectors[row] + 0.03 * random.standard_normal(384), space)
            truth = set(np.argsort(-(vectors @ query))[:10].tolist())
            answer = await shard.search(vector=query.tobytes())
            assert {hit.source for hit in answer.hits} == {"main"}
            found += len(truth & {int(hit.product_id[1:]) for hit in answer.hits})
        assert found / 2000 >= 0.95


def test_the_commands_compact_show_and_roll_back(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    environ = {**kafka_settings.environment(), "FRESHLENS_SPACE": str(LANE.space)}

    def freshlens(*arguments: str) -> str:
        result = CliRunner().invoke(cli, ["--data", str(tmp_path), *arguments], env=environ)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output

    publisher = Publisher(kafka_settings)
    publisher.send(records.content("p", 1, [records.picture(1)]))
    assert "head 1, 1 products, 1 rows" in freshlens("compact")
    assert "nothing new" in freshlens("compact")
    publisher.send(records.content("q", 1, [records.picture(2)]))
    assert "head 2, 2 products, 2 rows" in freshlens("compact", "--wait")
    assert '"products": 1' in freshlens("generations", "show", "1")
    assert "head 3 is the build of head 1" in freshlens("generations", "rollback", "1")
    assert "rollback" in freshlens("generations", "list")
    damaged = CliRunner().invoke(cli, ["--data", str(tmp_path), "generations", "show", "9"], env=environ)
    assert isinstance(damaged.exception, ManifestCorrupt)
