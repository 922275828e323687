"""The hot lane on a real Kafka: past everything that is queued, and vouched for like everything else."""

import pytest

from query_api.shards.freshness import FactIndex, requirement
from schemas.events import ProductAdded
from schemas.framing import PRODUCT_ADDED
from schemas.lane import Lane
from schemas.layout import Layout
from schemas.progress import Position, ReadToken
from tests.integration.stream_bench import SPACE, Bench, pictured, until, vectors_only
from topics.publisher import Publisher

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
QUEUED = 150
COLOURS = [f"#{number:02x}{255 - number:02x}80" for number in range(QUEUED)]


def hot(bench: Bench, event: ProductAdded) -> Position:
    publisher, positions = Publisher(bench.kafka), []
    publisher.send(event, positions.append, hot=True)
    publisher.close()
    (position,) = positions
    assert isinstance(position, Position)
    return position


def queue_slowly(bench: Bench) -> None:
    """150 pictures, none like another, before a model that takes four a second at best."""
    bench.start(STUB_PICTURE_S="0.25")
    for number, colour in enumerate(COLOURS):
        bench.add(pictured(f"q{number}", colour))
    until(lambda: bool(bench.indexed()), "the first of the queue")


def test_a_hot_product_goes_past_the_queue_and_its_token_is_answered(bench: Bench) -> None:
    queue_slowly(bench)
    position = hot(bench, pictured("hot", "#ff00ff"))
    assert position.topic == "product-added-hot"
    until(lambda: "hot" in bench.indexed(), "the hot product")
    assert len(bench.records) < QUEUED / 2
    until(lambda: bench.watermarks("product-added-hot") == 1, "a fact about it")
    facts = FactIndex()
    for fact in bench.facts:
        facts.add(fact)
    token, logs = ReadToken((position,)), {position.topic: position.log_id}
    needed = requirement(token, facts, lane=Lane("main", SPACE, Layout()), logs=logs, applied={})
    assert needed.is_covered
    assert len(bench.records) < QUEUED, "the token asks for nothing of the queue"
    record = bench.record("hot")
    assert record.source.topic == "product-added-hot"


def test_the_newer_of_both_lanes_wins_whichever_comes_first(bench: Bench) -> None:
    queue_slowly(bench)
    bench.add(vectors_only("both"))
    bench.producer.flush()
    hot(bench, pictured("both", "#ff00ff"))
    bench.until_indexed("both")
    found = {}
    while len(found) < 2:
        bench.read()
        found = {record.source.topic: record for record in bench.records if record.product_id == "both"}
    normal, urgent = found["product-added"], found["product-added-hot"]
    assert normal.content is not None
    assert urgent.content is not None
    assert urgent.content.rank > normal.content.rank


def test_kill_9_loses_nothing_of_the_hot_lane_and_poison_is_a_dead_letter(bench: Bench) -> None:
    worker = bench.start(STUB_PICTURE_S="0.1")
    products = [f"h{number}" for number in range(100)]
    for product, colour in zip(products, COLOURS, strict=False):
        key = f"shop/{product}".encode()
        bench.send("product-added-hot", PRODUCT_ADDED.encode(pictured(product, colour)), key)
    bench.send("product-added-hot", b"garbage", b"shop/x")
    until(lambda: bool(bench.indexed()), "the first of them")
    worker.kill()
    worker = bench.start()
    bench.until_indexed(*products)
    until(lambda: bench.watermarks("product-added-hot") == 101, "facts about all of them")
    assert set(bench.codes()) == {"undecodable-record"}, "twice where the kill came between dead letter and commit"
    worker.stop()
    bench.start()
    bench.send("product-added-hot", PRODUCT_ADDED.encode(vectors_only("last")), b"shop/last")
    bench.until_indexed("last")
    assert sum(record.product_id == "h0" for record in bench.records) <= 2, "what was committed is not read again"


def test_two_workers_share_the_hot_lane_as_they_come_and_go(bench: Bench) -> None:
    def send(first: int, count: int) -> list[str]:
        products = [f"h{number}" for number in range(first, first + count)]
        for product in products:
            bench.send("product-added-hot", PRODUCT_ADDED.encode(vectors_only(product)), f"shop/{product}".encode())
        return products

    one = bench.start(slot=0)
    sent = send(0, 80)
    bench.until_indexed(sent[0])
    bench.start(slot=1)
    sent += send(80, 80)
    bench.until_indexed(*sent)
    one.stop()
    sent += send(160, 80)
    bench.until_indexed(*sent)
    until(lambda: bench.watermarks("product-added-hot") == len(sent), "facts about all of them")
    assert bench.codes() == []
