"""The embed and delete workers on a real Kafka: every event ends on index-log or as a dead letter, whatever happens."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from PIL import Image

from schemas import index_log
from schemas.embeddings import Space
from schemas.events import Content, DeadLetter, GivenVector, Offer, Picture, ProductAdded, ProductDeleted
from schemas.framing import DEAD_LETTERS, INDEX_PROGRESS, PRODUCT_ADDED, PRODUCT_DELETED
from schemas.index_log import IndexLogRecord
from schemas.layout import Layout
from schemas.progress import ProgressFact
from topics import administration, clients
from topics.settings import KafkaSettings
from topics.store import FileStore, original_key, thumbnail_key

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
SPACE = Space("colour-1", 4)
VECTOR = GivenVector("", (1.0, 2.0, 3.0, 4.0))
STUB = Path(__file__).with_name("stub_embed.py")
WAIT_S = 60.0


def jpeg(colour: str = "red", side: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def until(is_so: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


@dataclass
class Worker:
    """A worker process."""

    process: subprocess.Popen[str]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> str:
        """Clean stop; returns what it printed (its metrics)."""
        self.process.send_signal(signal.SIGTERM)
        printed, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0
        return printed


@dataclass
class Bench:
    """Topics of the test's own, its data directory, and what came out so far."""

    kafka: KafkaSettings
    data: Path
    producer: Producer
    workers: list[Worker] = field(default_factory=list)
    records: list[IndexLogRecord] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    facts: list[ProgressFact] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._consumer = clients.consumer(self.kafka)
        self._consumer.assign(
            [
                *(TopicPartition(self.kafka.topic("index-log"), partition, 0) for partition in range(8)),
                *(TopicPartition(self.kafka.topic("dead-letters"), partition, 0) for partition in range(8)),
                TopicPartition(self.kafka.topic("index-progress"), 0, 0),
            ]
        )

    def start(self, role: str = "embed", slot: int = 0, **environ: str) -> Worker:
        values = {
            **os.environ,
            **self.kafka.environment(),
            "FRESHLENS_DATA": str(self.data),
            "FRESHLENS_SPACE": str(SPACE),
            "FRESHLENS_WORKER_SLOT": str(slot),
            "FRESHLENS_FETCH_PRIVATE": "1",
            **environ,
        }
        command = [sys.executable, str(STUB), role]
        worker = Worker(subprocess.Popen(command, env=values, stdout=subprocess.PIPE, text=True))
        self.workers.append(worker)
        assert worker.process.stdout is not None
        printed = list(iter(worker.process.stdout.readline, "READY\n"))  # log lines come first
        assert worker.process.poll() is None, printed
        return worker

    def add(self, event: ProductAdded, partition: int = -1) -> None:
        key = f"{event.tenant}/{event.product_id}".encode()
        self.send("product-added", PRODUCT_ADDED.encode(event), key, partition)

    def send(self, topic: str, value: bytes | None, key: bytes | None = None, partition: int = -1) -> None:
        self.producer.produce(self.kafka.topic(topic), value, key, partition)
        self.producer.poll(0)

    def read(self) -> None:
        for message in self._consumer.consume(500, 0.05):
            assert message.error() is None, message.error()
            topic, value = message.topic(), message.value()
            assert isinstance(value, bytes)
            if topic == self.kafka.topic("index-log"):
                partition = message.partition()
                assert partition is not None
                record = index_log.read(value, partition=partition, layout=Layout(), space=SPACE)
                assert isinstance(record, IndexLogRecord), record
                self.records.append(record)
            elif topic == self.kafka.topic("dead-letters"):
                self.letters.append(DEAD_LETTERS.decode(value, DeadLetter))
            else:
                self.facts.append(INDEX_PROGRESS.decode(value, ProgressFact))

    def indexed(self) -> set[str]:
        self.read()
        return {record.product_id for record in self.records}

    def codes(self) -> list[str]:
        self.read()
        return sorted(letter.code for letter in self.letters)

    def until_indexed(self, *products: str) -> None:
        wanted = set(products)
        deadline = time.monotonic() + WAIT_S
        while missing := wanted - self.indexed():
            assert time.monotonic() < deadline, f"not on index-log: {sorted(missing)[:10]}, dead: {self.codes()[:10]}"

    def record(self, product_id: str) -> IndexLogRecord:
        return next(record for record in reversed(self.records) if record.product_id == product_id)

    def watermarks(self, topic: str) -> int:
        """How many records of a topic all facts so far vouch for."""
        self.read()
        newest = {fact.partition: fact.watermark for fact in self.facts if fact.topic == topic}
        return sum(newest.values())

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
        self._consumer.close()


@pytest.fixture
def bench(kafka_settings: KafkaSettings, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(kafka_settings, tmp_path / "data", clients.producer(kafka_settings))
    yield bench
    bench.close()


def vectors_only(product_id: str) -> ProductAdded:
    return ProductAdded("shop", product_id, content=Content(title="t", vectors=(VECTOR,)))


def pictured(product_id: str, colour: str = "red") -> ProductAdded:
    return ProductAdded("shop", product_id, content=Content(pictures=(Picture(inline=jpeg(colour)),)))


def test_events_of_every_kind_reach_the_index_log_and_poison_the_dead_letters(bench: Bench) -> None:
    root = bench.data / "pictures"
    root.mkdir(parents=True)
    (root / "blue.jpg").write_bytes(jpeg("blue"))
    worker = bench.start(FRESHLENS_FETCH_ROOTS=str(root))
    bench.add(pictured("inline"))
    bench.add(ProductAdded("shop", "file", content=Content(pictures=(Picture(uri=f"file://{root}/blue.jpg"),))))
    bench.add(vectors_only("vector"))
    bench.add(ProductAdded("shop", "text", content=Content(title="A mug")))
    bench.add(ProductAdded("shop", "offer", offer=Offer(price=3.5)))
    good_and_bad = (Picture(inline=jpeg("green")), Picture(inline=b"no picture"))
    bench.add(ProductAdded("shop", "partly", content=Content(pictures=good_and_bad)))
    poison = {
        "undecodable-record": (b"garbage", None),
        "schema-registry-not-configured": (b"\0\0\0\0\1x", None),
        "key-mismatch": (PRODUCT_ADDED.encode(vectors_only("key")), b"shop/other"),
        "version-out-of-range": (PRODUCT_ADDED.encode(ProductAdded("shop", "v", version=5, offer=Offer())), None),
        "undecodable-image": (
            PRODUCT_ADDED.encode(
                ProductAdded("shop", "i", content=Content(pictures=(Picture(inline=b"x" * 300_000),)))
            ),
            None,
        ),
        "image-refused": (
            PRODUCT_ADDED.encode(
                ProductAdded("shop", "r", content=Content(pictures=(Picture(uri="file:///etc/passwd"),)))
            ),
            None,
        ),
        "space-mismatch": (
            PRODUCT_ADDED.encode(
                ProductAdded("shop", "s", content=Content(vectors=(GivenVector("other", (1.0, 0, 0, 0)),)))
            ),
            None,
        ),
    }
    for value, key in poison.values():
        bench.send("product-added", value, key)
    bench.until_indexed("inline", "file", "vector", "text", "offer", "partly")
    until(lambda: len(bench.codes()) >= len(poison), "dead letters")
    assert bench.codes() == sorted(poison)

    inline = bench.record("inline").content
    assert inline is not None
    assert [view.kind for view in inline.views] == ["image"]
    assert inline.dup_group == inline.views[0].phash
    digest = inline.views[0].content_hash
    assert digest is not None
    store = FileStore(bench.data / "store")
    assert store.get(original_key(digest.hex())) == jpeg()
    assert all(store.exists(thumbnail_key("shop", digest.hex(), size)) for size in (96, 256, 512))
    partly, text, offer = bench.record("partly").content, bench.record("text").content, bench.record("offer")
    assert partly is not None
    assert len(partly.views) == 1
    assert text is not None
    assert text.views[0].kind == "text"
    assert offer.content is None
    assert offer.offer is not None
    large = next(letter for letter in bench.letters if letter.code == "undecodable-image")
    assert large.version is not None
    assert large.value is None
    assert large.stored_at is not None
    assert len(store.get(large.stored_at)) > 300_000
    assert "freshlens_dead_letters_total" in worker.stop()


def test_deletes_have_a_worker_of_their_own(bench: Bench) -> None:
    worker = bench.start("deletes")
    raw = PRODUCT_DELETED.encode(ProductDeleted("shop", "1", reason="sold"))
    bench.send("product-deleted", raw, b"shop/1")
    bench.send("product-deleted", b"garbage")
    bench.until_indexed("1")
    until(lambda: bench.codes() == ["undecodable-record"], "a dead letter")
    deleted = bench.record("1").deleted
    assert deleted is not None
    assert deleted.rank.version == bench.record("1").source.appended_at * 1000
    until(lambda: bench.watermarks("product-deleted") == 2, "facts about both")
    worker.stop()


def test_an_aborted_transaction_is_never_indexed(bench: Bench) -> None:
    bench.start()
    producer = clients.producer(
        bench.kafka, transactional_id=f"{bench.kafka.topic_prefix}tx", delivery_timeout_ms=30_000
    )
    producer.init_transactions(30)
    topic = bench.kafka.topic("product-added")
    for product_id, commits in (("kept-1", True), ("aborted", False), ("kept-2", True)):
        producer.begin_transaction()
        producer.produce(topic, PRODUCT_ADDED.encode(vectors_only(product_id)), partition=0)
        producer.flush(10)
        if commits:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    bench.add(vectors_only("after"), partition=0)
    bench.until_indexed("kept-1", "kept-2", "after")
    assert bench.indexed() == {"kept-1", "kept-2", "after"}
    until(lambda: bench.watermarks("product-added") >= 7, "a fact beyond the transaction markers")


def test_facts_say_how_far_index_log_must_be_read(bench: Bench) -> None:
    bench.start()
    products = [f"p{number}" for number in range(40)]
    for product in products:
        bench.add(vectors_only(product))
    bench.send("product-added", b"garbage", b"key")
    bench.until_indexed(*products)
    until(lambda: bench.watermarks("product-added") == 41, "facts about all events")
    log_id = str(administration.describe_log(clients.admin(bench.kafka), bench.kafka.topic("product-added")))
    ends = administration.end_offsets(clients.admin(bench.kafka), bench.kafka.topic("index-log"))
    for fact in bench.facts:
        assert (fact.lane, fact.log_id) == ("main", log_id)
        assert set(fact.reach_by_partition) == set(range(8))
        assert all(offset <= ends[partition] for partition, offset in fact.reach_by_partition.items())
    last = {fact.partition: fact for fact in bench.facts if fact.topic == "product-added"}
    for record in bench.records:
        assert last[record.source.partition].watermark > record.source.offset
    reached = [max(fact.reach_by_partition[partition] for fact in last.values()) for partition in range(8)]
    assert reached == [ends[partition] for partition in range(8)]


def test_kill_9_and_restart_lose_nothing(bench: Bench) -> None:
    worker = bench.start(STUB_DELAY_S="0.02")
    products = [f"p{number}" for number in range(400)]
    for number, product in enumerate(products):
        bench.add(pictured(product, f"rgb({number % 256}, {number // 256}, 9)"))
    for _ in range(2):
        known = len(bench.indexed())
        until(lambda known=known: len(bench.indexed()) > known, "some progress before the kill")  # type: ignore[misc]
        worker.kill()
        worker = bench.start(STUB_DELAY_S="0.02")
    bench.until_indexed(*products)
    until(lambda: bench.watermarks("product-added") == 400, "facts about all events")
    printed = worker.stop()
    again = bench.start()
    bench.add(vectors_only("after"))
    bench.until_indexed("after")
    assert "freshlens_encoded_items_total" not in again.stop(), "nothing was delivered again after a clean stop"
    assert "freshlens_embedding_cache_total {'result': 'error'}" not in printed


def test_prices_overtake_queued_pictures_and_known_pictures_skip_the_model(bench: Bench) -> None:
    worker = bench.start(STUB_DELAY_S="1")
    bench.add(pictured("known"))
    bench.until_indexed("known")
    for number in range(100):
        bench.add(pictured(f"slow{number}", f"rgb({number}, 40, 40)"))
    bench.add(pictured("relisted"))
    bench.add(ProductAdded("shop", "price", offer=Offer(price=1)))
    bench.until_indexed("relisted", "price")
    assert len(bench.indexed()) < 90, "the model was still busy"
    worker.kill()


def test_a_dead_image_host_holds_up_nobody_and_its_pictures_are_found_later(bench: Bench) -> None:
    missing = bench.data / "pictures" / "late.jpg"
    missing.parent.mkdir(parents=True)
    bench.start(FRESHLENS_FETCH_ROOTS=str(missing.parent))
    dead = Content(pictures=(Picture(uri="http://127.0.0.1:9/a.jpg"),))
    for number in range(50):
        bench.add(ProductAdded("shop", f"dead{number}", content=dead, offer=Offer(price=1)))
    both = Content(pictures=(Picture(inline=jpeg()), Picture(uri=f"file://{missing}")))
    bench.add(ProductAdded("shop", "late", content=both))
    bench.add(pictured("other"))
    bench.until_indexed("other", "late", "dead0", "dead49")
    first = bench.record("late").content
    assert first is not None
    assert len(first.views) == 1
    assert bench.record("dead0").content is None, "its offer is there, its content waits"
    until(lambda: bench.watermarks("product-added") == 52, "the events are finished all the same")
    missing.write_bytes(jpeg("blue"))
    until(lambda: _views(bench, "late") == 2, "the late picture")
    second = bench.record("late").content
    assert second is not None
    assert second.rank.version == first.rank.version
    assert second.rank > first.rank


def _views(bench: Bench, product_id: str) -> int:
    bench.read()
    content = bench.record(product_id).content
    return len(content.views) if content is not None else 0


def test_two_workers_share_the_work_and_one_takes_over(bench: Bench) -> None:
    first = bench.start(slot=0)
    second = bench.start(slot=1)
    products = [f"p{number}" for number in range(200)]
    for product in products[:100]:
        bench.add(vectors_only(product))
    bench.until_indexed(*products[:100])
    second.kill()
    for product in products[100:]:
        bench.add(vectors_only(product))
    bench.until_indexed(*products)
    until(lambda: bench.watermarks("product-added") == 200, "facts about all events")
    first.stop()


def test_removed_events_are_reported_as_lost(bench: Bench, admin: AdminClient) -> None:
    bench.start().stop()
    for number in range(5):
        bench.add(vectors_only(f"lost{number}"), partition=0)
    bench.producer.flush()
    topic = bench.kafka.topic("product-added")
    administration.delete_records(admin, topic, {0: administration.end_offsets(admin, topic)[0]})
    worker = bench.start()
    bench.add(vectors_only("after"), partition=0)
    bench.until_indexed("after")
    assert "freshlens_events_lost_total {'topic': 'product-added'} 5" in worker.stop()
