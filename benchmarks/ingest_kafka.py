"""The whole embed worker on a real Kafka: new products, the same ones again with new prices, and prices alone.

Products lie in product-added before the worker starts. The rate is taken between the broker's append times of the
first and the last record on index-log, so that neither publishing nor the worker's start is in it. The worker runs
beside its broker on this machine. What was encoded is counted by the worker itself: again with new prices must be 0.

    python -m benchmarks.ingest_kafka [--products 3000] [--rounds 3]
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import TopicPartition

from benchmarks.freshness import picture
from benchmarks.report import save
from freshlens.broker import EmbeddedBroker
from freshlens.processes import settled
from processors.encoders.open_clip_encoder import BUNDLED, space_of
from schemas.events import Content, Offer, Picture, ProductAdded
from schemas.framing import PRODUCT_ADDED
from schemas.layout import Layout
from schemas.metrics import RecordingMetrics
from streams import worker
from streams.settings import StreamsSettings
from topics import administration, clients
from topics.settings import KafkaSettings

STALLED_S = 120.0
ENCODED = "freshlens_encoded_items_total"


def product(number: int, raw: bytes | None, price: float) -> ProductAdded:
    """A product with its picture inline, or a price alone."""
    content = None if raw is None else Content(title=f"Product {number}", pictures=(Picture(inline=raw),))
    return ProductAdded("shop", f"p-{number}", content=content, offer=Offer(price=price, stock=number))


def publish(kafka: KafkaSettings, products: Sequence[ProductAdded]) -> None:
    """Put them on product-added, and wait until they are there."""
    producer = clients.producer(kafka)
    for each in products:
        key = f"{each.tenant}/{each.product_id}".encode()
        producer.produce(kafka.topic("product-added"), PRODUCT_ADDED.encode(each), key)
        producer.poll(0)
    assert producer.flush(60) == 0


class IndexLog:
    """Follows index-log by its append times."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._consumer = clients.consumer(kafka)
        partitions = Layout().partitions
        self._consumer.assign([TopicPartition(kafka.topic("index-log"), each, 0) for each in range(partitions)])

    def rate(self, count: int) -> float:
        """Records per second, over the next ``count``."""
        appended: list[int] = []
        deadline = time.monotonic() + STALLED_S
        while len(appended) < count:
            assert time.monotonic() < deadline, f"{len(appended)} of {count} records came"
            for message in self._consumer.consume(1000, 0.2):
                assert message.error() is None, message.error()
                appended.append(message.timestamp()[1])
                deadline = time.monotonic() + STALLED_S
        return (count - 1) * 1000 / max(1, max(appended) - min(appended))


@contextmanager
def running(environ: dict[str, str]) -> Iterator[dict[str, float]]:
    """An embed worker; its counters are in what it yields once it has stopped."""
    command = [sys.executable, "-m", "benchmarks.ingest_kafka", "--worker"]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    counted: dict[str, float] = {}
    try:
        yield counted
        process.send_signal(signal.SIGTERM)
        counted.update(json.loads(process.communicate(timeout=60)[0].splitlines()[-1]))
    finally:
        process.kill()
        process.wait()


def work() -> None:
    """Be the worker as it is elsewhere, and print what was counted at the end."""
    metrics = RecordingMetrics()
    worker.run("embed", StreamsSettings.from_env(os.environ), metrics, settled(lambda: None))
    counted = {f"{name}{dict(labels)}": value for (name, labels), value in metrics.values.items()}
    sys.stdout.write("\n" + json.dumps(counted) + "\n")


def passed(kafka: KafkaSettings, log: IndexLog, data: Path, products: Sequence[ProductAdded]) -> dict[str, Any]:
    """Publish, and let a worker do it."""
    publish(kafka, products)
    environ = {
        **os.environ,
        **kafka.environment(),
        "FRESHLENS_DATA": str(data),
        "FRESHLENS_SPACE": str(space_of(BUNDLED)),
    }
    with running(environ) as counted:
        rate = log.rate(len(products))
    encoded = sum(value for name, value in counted.items() if name.startswith(ENCODED))
    return {"per_s": round(rate, 1), "encoded": int(encoded)}


def measure(count: int, rounds: int) -> dict[str, Any]:
    """Rates of every kind of pass."""
    raws = [picture(number) for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker(Path(folder) / "broker", heap_mb=384)
        kafka = KafkaSettings.from_env(os.environ, discovered=broker.start())
        try:
            administration.create_topics(clients.admin(kafka), kafka, Layout())
            log, data = IndexLog(kafka), Path(folder) / "data"
            new = passed(kafka, log, data, [product(n, raw, 1.0) for n, raw in enumerate(raws)])
            print("new", new, flush=True)
            again, prices = [], []
            for price in range(2, 2 + rounds):
                again.append(passed(kafka, log, data, [product(n, raw, price) for n, raw in enumerate(raws)]))
                prices.append(passed(kafka, log, data, [product(n, None, price + 0.5) for n in range(count)]))
                print("again", again[-1], "prices", prices[-1], flush=True)
        finally:
            broker.stop()
    return {"products": count, "rounds": rounds, "new": new, "again": _median(again), "prices": _median(prices)}


def _median(passes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    rate = round(statistics.median(each["per_s"] for each in passes), 1)
    return {"per_s": rate, "encoded": max(each["encoded"] for each in passes)}


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--products", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work()
        return
    figures = measure(given.products, given.rounds)
    save(
        "ingest_kafka", "The embed worker on Kafka: new products, the same again with new prices, prices alone", figures
    )


if __name__ == "__main__":
    main()
