"""Do deletes, prices and the hot lane overtake a flood of pictures behind a slow model?

Real workers on a real Kafka, with a stand-in for the model that takes 250 ms of a core for each picture. Published →
confirmed on index-log, once idle and once with the flood queued: the differences are what waiting in line would cost.

    python -m benchmarks.overtaking [--flood 30000] [--each 200]
"""

import argparse
import random
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from benchmarks.report import save, spread
from freshlens.broker import EmbeddedBroker
from schemas.events import Content, Offer, Picture, ProductAdded, ProductDeleted
from schemas.framing import PRODUCT_ADDED, PRODUCT_DELETED
from schemas.layout import Layout
from tests.integration.stream_bench import Bench, jpeg
from topics import administration, clients
from topics.settings import KafkaSettings

MODEL_S = "0.25"
TIMEOUT_S = 120.0


def pictured(product_id: str, picture: bytes) -> bytes:
    """An event with one picture that no cache knows."""
    return PRODUCT_ADDED.encode(ProductAdded("shop", product_id, content=Content(pictures=(Picture(inline=picture),))))


def probe(kind: str, product_id: str) -> tuple[str, bytes]:
    """(topic, event) of one thing that must not wait."""
    if kind == "delete":
        return "product-deleted", PRODUCT_DELETED.encode(ProductDeleted("shop", product_id))
    if kind == "price":
        return "product-added", PRODUCT_ADDED.encode(ProductAdded("shop", product_id, offer=Offer(price=1.0)))
    return "product-added-hot", pictured(product_id, jpeg(side=64, comment=product_id))


class Overtaking:
    """Publishes probes one after the other, at random moments, and waits for each on index-log."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def latency_s(self, kind: str) -> float:
        """Published → seen on index-log."""
        product_id = f"{kind}-{uuid.uuid4().hex}"
        topic, event = probe(kind, product_id)
        began = time.perf_counter()
        self._bench.send(topic, event)
        self._bench.producer.flush()
        known = len(self._bench.records)
        while time.perf_counter() - began < TIMEOUT_S:
            self._bench.read(0.002)
            if any(record.product_id == product_id for record in self._bench.records[known:]):
                return time.perf_counter() - began
            known = len(self._bench.records)
        raise TimeoutError(f"{kind}: not on index-log within {TIMEOUT_S:.0f} s")

    def latencies(self, each: int) -> dict[str, list[float]]:
        """So many of every kind, in turn."""
        found: dict[str, list[float]] = {"delete": [], "price": [], "hot picture": []}
        for _ in range(each):
            for kind, seconds in found.items():
                seconds.append(self.latency_s(kind))
                time.sleep(random.uniform(0, 0.02))
        return found


def flood(bench: Bench, count: int) -> None:
    """Queue so many pictures."""
    for number in range(count):
        bench.send("product-added", pictured(f"flood{number}", jpeg(side=64, comment=f"flood {number}")))
    bench.producer.flush()


def measure(bench: Bench, count: int, each: int) -> dict[str, Any]:
    """Idle, then with the flood queued."""
    bench.start("embed", STUB_PICTURE_S=MODEL_S)
    bench.start("deletes")
    overtaking = Overtaking(bench)
    overtaking.latencies(10)
    idle = overtaking.latencies(each)
    flood(bench, count)
    behind = overtaking.latencies(each)
    drained = sum(record.product_id.startswith("flood") for record in bench.records)
    assert drained < count, f"the flood of {count} was over before the probes were: take a larger one"
    return {
        "idle": {kind: spread(seconds) for kind, seconds in idle.items()},
        f"with {count} pictures queued": {kind: spread(seconds) for kind, seconds in behind.items()},
        "of these pictures indexed meanwhile": drained,
    }


def main() -> None:
    """Start a Kafka of its own and measure on it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--flood", type=int, default=30_000)
    parser.add_argument("--each", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker(Path(folder) / "kafka", heap_mb=384)
        try:
            kafka = KafkaSettings.from_env({}, discovered=broker.start())
            administration.create_topics(clients.admin(kafka), kafka, Layout())
            bench = Bench(kafka, Path(folder) / "data", clients.producer(kafka))
            try:
                figures = measure(bench, options.flood, options.each)
            finally:
                bench.close()
        finally:
            broker.stop()
    save("overtaking", "Published to index-log, idle and behind a flood of pictures", figures)


if __name__ == "__main__":
    main()
