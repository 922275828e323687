"""Workers under bad deploys, poison, floods and comings and goings, on a real Kafka (HOLES 3, 7, 19, 20)."""

import asyncio
import json
import os
import signal
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import TopicPartition

from freshlens.cli.dead_letters import dead_letters_group
from schemas.events import Content, Offer, Picture, ProductAdded, ProductDeleted, ProductRetry, Source
from schemas.framing import PRODUCT_ADDED, PRODUCT_DELETED, PRODUCT_RETRY
from schemas.join import Rank
from schemas.metrics import RecordingMetrics
from streams import app as streams_app
from streams.app import Received, WorkerApp, worker_app
from streams.faults import FAULTS_MAX, paused_workers
from streams.serving import serve
from tests.integration.stream_bench import Bench, Worker, jpeg, pictured, until, vectors_only
from tests.integration.test_dead_letters import CommandContext
from topics import clients
from topics.settings import KafkaSettings
from topics.store import FileStore

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
ABORTING_CHILD = """
import os
from processors.pictures import decoder_worker

def decode(raw, *given, **how):
    if raw == b"abort":
        os.abort()
    return honest(raw, *given, **how)

honest, decoder_worker.decode = decoder_worker.decode, decode
decoder_worker.main()
"""


def titled(product_id: str, title: str = "A mug") -> ProductAdded:
    """A product whose text goes through the model."""
    return ProductAdded("shop", product_id, content=Content(title=title))


def slow(number: int) -> ProductAdded:
    """A product with a picture that no cache knows."""
    picture = Picture(inline=jpeg(side=16, comment=str(number)))
    return ProductAdded("shop", f"slow{number}", content=Content(pictures=(picture,)))


def dead_letters(bench: Bench, *arguments: str) -> str:
    """A dead-letters command on this bench; what it said."""
    context = CommandContext(bench.kafka, bench.data)
    done = CliRunner().invoke(dead_letters_group, arguments, obj=context)
    assert done.exit_code == 0, done.output
    return done.stdout


def until_paused(bench: Bench) -> None:
    store = FileStore(bench.data / "store")
    until(lambda: bool(paused_workers(store)), "the worker is paused")


def committed(bench: Bench, partition: int) -> int:
    consumer = clients.consumer(bench.kafka, bench.kafka.group("embed"))
    (found,) = consumer.committed([TopicPartition(bench.kafka.topic("product-added"), partition)], timeout=20)
    consumer.close()
    return found.offset


def test_a_bad_deploy_is_paused_before_it_commits_and_goes_on_once_repaired(bench: Bench) -> None:
    products = [f"p{number}" for number in range(200)]
    worker = bench.start(STUB_FAIL="1")
    for product in products:
        bench.add(titled(product), partition=0)
    for _ in range(2):
        until_paused(bench)
        until(lambda: len(bench.codes()) >= FAULTS_MAX, "the dead letters of before")
        until(lambda: committed(bench, 0) >= 0, "a commit")
        worker.kill()
        assert bench.codes() == ["encoder-failed"] * FAULTS_MAX, "a restart lets no more pass"
        assert committed(bench, 0) <= FAULTS_MAX
        worker = bench.start(STUB_FAIL="1")
    until_paused(bench)
    worker.stop()

    bench.start()
    failed = {letter.key for letter in bench.letters}
    bench.until_indexed(*(product for product in products if f"shop/{product}".encode() not in failed))
    assert (
        dead_letters(bench, "replay", "--code", "encoder-failed", "--since", "1h")
        == f"{FAULTS_MAX} replayed, 0 refused\n"
    )
    bench.until_indexed(*products)
    assert bench.codes() == ["encoder-failed"] * FAULTS_MAX


def test_accept_lets_a_paused_worker_go_on(bench: Bench) -> None:
    worker = bench.start(STUB_FAIL="1")
    for number in range(FAULTS_MAX + 70):
        bench.add(titled(f"p{number}"))
    until_paused(bench)
    bench.add(vectors_only("behind"))
    assert "encoder-failed" in dead_letters(bench, "accept", "--records", "1000")
    until(lambda: len(bench.codes()) == FAULTS_MAX + 70, "all of them")
    bench.until_indexed("behind")
    assert dead_letters(bench, "accept") == "no worker is paused\n"
    (first, *_) = [json.loads(line) for line in dead_letters(bench, "list", "--json", "--limit", "1").splitlines()]
    assert (first["code"], first["attempts"]) == ("encoder-failed", 1)
    assert dead_letters(bench, "list", "--json", "--until", "1h") == ""
    assert "freshlens_worker_paused {'role': 'embed'} 0" in worker.stop()


def test_a_record_that_kills_the_worker_is_given_up_and_its_neighbours_are_not(bench: Bench) -> None:
    for product, title in (("before", "A mug"), ("poison", "poison"), ("after", "A mug")):
        bench.add(titled(product, title), partition=0)
    crashes, worker = 0, Worker.launch(bench)
    while True:
        until(lambda: worker.process.poll() is not None or bool(bench.codes()), "an end")  # noqa: B023
        if worker.process.poll() is None:
            break
        assert worker.process.returncode == -signal.SIGKILL
        crashes, worker = crashes + 1, Worker.launch(bench)
    bench.until_indexed("before", "after")
    (letter,) = bench.letters
    assert (letter.code, letter.attempts, letter.source.offset) == ("worker-crashed", 3, 1)
    assert letter.value == PRODUCT_ADDED.encode(titled("poison", "poison"))
    assert crashes <= 4, "with three in hand, then with one: three times"
    assert "poison" not in bench.indexed()


@pytest.mark.parametrize("role", ["embed", "deletes"])
def test_a_worker_of_which_a_part_fails_ends(bench: Bench, role: str) -> None:
    worker = Worker.launch(bench, role, STUB_PART_FAILS="1")
    assert worker.process.wait(60) == 1
    assert "READY" in worker.output.read_text(), "it was a member of its group"


def test_a_decoder_that_aborts_costs_its_picture(bench: Bench) -> None:
    bench.data.mkdir(parents=True)
    (bench.data / "aborting_child.py").write_text(ABORTING_CHILD)
    bench.start(STUB_DECODER="aborting_child", PYTHONPATH=f"{bench.data}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    for number in range(3):
        bench.add(pictured(f"good{number}"))
        bench.add(ProductAdded("shop", f"bad{number}", content=Content(pictures=(Picture(inline=b"abort"),))))
    partly = (Picture(inline=b"abort"), Picture(inline=jpeg("green")))
    bench.add(ProductAdded("shop", "partly", content=Content(pictures=partly)))
    bench.until_indexed("good0", "good1", "good2", "partly")
    until(lambda: len(bench.codes()) == 4, "dead letters")
    assert bench.codes() == ["decoder-crashed"] * 4, "of the three, and of the view that the last one lacks"


def test_deletes_and_prices_overtake_5000_queued_pictures(bench: Bench) -> None:
    bench.start("embed", STUB_PICTURE_S="2")
    bench.start("deletes")
    for number in range(5_000):
        bench.add(slow(number))
    prices, gone = [f"price{number}" for number in range(50)], [f"gone{number}" for number in range(50)]
    for price, product in zip(prices, gone, strict=True):
        bench.add(ProductAdded("shop", price, offer=Offer(price=1)))
        bench.send("product-deleted", PRODUCT_DELETED.encode(ProductDeleted("shop", product)))
    bench.until_indexed(*prices, *gone)
    order = [record.product_id for record in bench.records]
    pictures_before = sum(product.startswith("slow") for product in order)
    assert pictures_before < 500, "they did not wait for the model"


def test_prices_overtake_what_the_worker_has_no_room_for_and_their_turn_changes_nothing(bench: Bench) -> None:
    worker = bench.start("embed", STUB_PICTURE_S="0.03", STUB_ROOM="20")
    for number in range(300):
        bench.add(slow(number))
    bench.send("product-added", b"garbage", b"shop/garbage")
    prices = [f"price{number}" for number in range(50)]
    for price in prices:
        bench.send("product-added", PRODUCT_ADDED.encode(ProductAdded("shop", price, offer=Offer(price=1))))
    bench.until_indexed(*prices)
    assert sum(record.product_id.startswith("slow") for record in bench.records) < 300, (
        "they did not wait for the model"
    )
    first = {price: bench.record(price) for price in prices}
    until(lambda: bench.watermarks("product-added") == 351, "facts about all events")
    again = {price: bench.record(price) for price in prices}
    assert again == first, "the same record once more: equal ranks change nothing"
    assert bench.codes() == ["undecodable-record"]
    ahead = next(line for line in worker.stop().splitlines() if line.startswith("freshlens_offers_ahead_total"))
    assert 0 < float(ahead.split()[-1]) <= len(prices), "each once"


def test_what_waited_for_its_retry_until_its_deletion_may_be_forgotten_is_a_dead_letter(bench: Bench) -> None:
    bench.start("embed", FRESHLENS_TOMBSTONE_DAYS="30")
    day_ms, now_ms = 24 * 3600 * 1000, time.time_ns() // 1_000_000
    for product, age_days in (("old", 31), ("young", 29)):
        event = PRODUCT_ADDED.encode(vectors_only(product))
        source = Source("product-added", 0, 7, now_ms - age_days * day_ms)
        retry = ProductRetry(event, source, source.appended_at * 1000, 0, 3, 0)
        bench.send("product-retry", PRODUCT_RETRY.encode(retry), f"shop/{product}".encode())
    bench.until_indexed("young")
    until(lambda: bool(bench.codes()), "a dead letter")
    assert "publish the product anew" in bench.letters[0].reason
    assert bench.indexed() == {"young"}


class Feed:
    """Publishes from a thread until stopped: 100 products over and over, each time with a new title."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._over, self.published = bench, threading.Event(), 0
        self._thread = threading.Thread(target=self._publish)
        self._thread.start()

    def _publish(self) -> None:
        while not self._over.wait(0.01):
            self._bench.add(titled(f"p{self.published % 100}", f"title {self.published}"))
            self.published += 1

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self._bench.producer.flush()


def test_workers_come_and_go_under_load_and_nothing_is_lost_or_doubled_in_effect(bench: Bench) -> None:
    feed = Feed(bench)
    try:
        first = bench.start(slot=0)
        second = bench.start(slot=1)
        first.stop()
        first = bench.start(slot=0)
        second.kill()
        second = bench.start(slot=1)
    finally:
        feed.stop()
    until(lambda: bench.watermarks("product-added") == feed.published, "facts about all events")
    assert bench.codes() == []

    effects: dict[str, dict[Rank, str | None]] = defaultdict(dict)
    for record in bench.records:
        assert record.content is not None
        effects[record.product_id][record.content.rank] = record.content.title
    newest = {f"p{number % 100}": f"title {number}" for number in range(feed.published)}
    assert {product: by_rank[max(by_rank)] for product, by_rank in effects.items()} == newest
    assert sum(map(len, effects.values())) == feed.published, "what was done twice has the same rank: it has no effect"


async def test_what_is_read_ahead_is_bounded_in_bytes(
    kafka_settings: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mib, sent = 1024 * 1024, 150
    monkeypatch.setattr(streams_app, "BUFFER_BYTES_MAX", 8 * mib)
    producer = clients.producer(kafka_settings)
    for number in range(sent):
        producer.produce(kafka_settings.topic("product-added"), os.urandom(mib), partition=0)
        if number % 32 == 31:
            await asyncio.to_thread(producer.flush)
    await asyncio.to_thread(producer.flush)
    may_work, taken = asyncio.Event(), list[int]()

    async def handler(received: Received) -> None:
        await may_work.wait()
        taken.append(received.source.offset)
        app.ledger.finish(received.ticket)

    app: WorkerApp = worker_app(
        "embed", kafka_settings, {"product-added": handler}, metrics=RecordingMetrics(), data=tmp_path
    )
    life = asyncio.create_task(serve(app, lambda: None))
    most = 0
    try:
        async with asyncio.timeout(120):
            while app.read_ahead_bytes <= streams_app.BUFFER_BYTES_MAX:
                await asyncio.sleep(0.01)
            for _ in range(100):
                most = max(most, app.read_ahead_bytes)
                await asyncio.sleep(0.01)
            assert most <= 40 * mib, "a poll more than the bound, of 150 MiB"
            may_work.set()
            while len(taken) < sent:
                await asyncio.sleep(0.01)
    finally:
        may_work.set()
        os.kill(os.getpid(), signal.SIGTERM)
        await life
    assert taken == list(range(sent))
