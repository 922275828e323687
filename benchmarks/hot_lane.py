"""How long until a hot product can be found while a whole back-fill is queued, and any product on a normal day?

Products are published one after another through the API, hot, and looked up with their read token; found means: the
answer has the product, and says that the token was met. The queue is of drawn pictures, each with bytes of its own, so
that every one of them is stored, decoded and embedded like a new one. For comparison: products published without
``hot``, with nothing queued, and while others of the same kind come in at a steady rate (a normal day).

    python -m benchmarks.hot_lane [--queued 100000] [--products 100] [--drawn 64] [--stream 40]
"""

import argparse
import asyncio
import base64
import io
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import count, islice
from pathlib import Path
from typing import Any

from benchmarks.report import save, spread
from benchmarks.steady import Steady
from freshlens.catalogue import as_json, draw, product
from freshlens.client import AsyncClient
from freshlens.log_reading import records
from freshlens.publishing import Following, Sender
from schemas import framing
from schemas.events import Content, Picture, ProductAdded
from schemas.index_log import IndexLogRecord
from tests.running import Running
from topics import administration, clients
from topics.declarations import INDEX_LOG, PRODUCT_ADDED_HOT
from topics.publisher import Publisher
from topics.settings import KafkaSettings

WAIT_MS = 30_000
TENANT = "default"


def jpeg(number: int) -> bytes:
    """The drawn product as a JPEG."""
    file = io.BytesIO()
    draw(product(number)).save(file, "JPEG", quality=85)
    return file.getvalue()


def back_fill(drawn: int, number: int = 0) -> Iterator[ProductAdded]:
    """Products without end, from ``number`` on; what follows the end of a JPEG changes its hash and nothing else."""
    pictures = [jpeg(1_000_000 + each) for each in range(drawn)]
    while True:
        picture = Picture(inline=pictures[number % drawn] + number.to_bytes(8))
        yield ProductAdded(TENANT, f"queued-{number}", content=Content(title="queued", pictures=(picture,)))
        number += 1


async def measure(client: AsyncClient, numbers: Iterable[int], *, hot: bool) -> list[float]:
    """Seconds from publishing to found, of each product, one after another."""
    seconds = []
    for number in numbers:
        line = {**as_json(product(number)), "image": {"base64": base64.b64encode(jpeg(number)).decode()}}
        began = time.perf_counter()
        published = await client.publish([line], hot=hot)
        ids = [str(line["product_id"])]
        answer = await client.lookup(ids, min_offset=published.read_token, wait_ms=WAIT_MS)
        seconds.append(time.perf_counter() - began)
        assert answer.freshness_met, answer.freshness
        assert answer.products[0].visible
    return seconds


def queue(kafka: KafkaSettings, events: Iterator[ProductAdded]) -> None:
    """Put all of these on product-added."""
    publisher = Publisher(kafka)
    sender = Sender(publisher, Following())
    for event in events:
        sender.send(event.product_id, event)
    publisher.close()
    assert not sender.failed, sender.failed[0]


def on_log(kafka: KafkaSettings, since: Mapping[int, int]) -> list[float]:
    """Seconds from the append of each hot event to the append of its record on index-log."""
    seconds = []
    for message in records(kafka, kafka.topic(INDEX_LOG), since, ends(kafka), lambda _done, _total: None):
        record = framing.INDEX_LOG.decode(message.value() or b"", IndexLogRecord)
        if record.source.topic == PRODUCT_ADDED_HOT:
            seconds.append((message.timestamp()[1] - record.source.appended_at) / 1000)
    return seconds


def ends(kafka: KafkaSettings) -> Mapping[int, int]:
    """Where index-log ends now."""
    return administration.end_offsets(clients.admin(kafka), kafka.topic(INDEX_LOG))


async def indexed(client: AsyncClient) -> int:
    """How many products can be found now."""
    return (await client.status()).products or 0


async def run(running: Running, *, queued: int, products: int, drawn: int, per_s: float) -> dict[str, Any]:
    """Warm up, measure on the empty lanes and in a steady stream, fill one lane, measure again."""
    kafka = KafkaSettings.from_env({"KAFKA_BOOTSTRAP_SERVERS": running.kafka})
    async with AsyncClient(running.url) as client:
        await measure(client, range(10), hot=False)
        await measure(client, range(10, 20), hot=True)
        fresh = count(20)

        async def measured(*, hot: bool) -> list[float]:
            return await measure(client, islice(fresh, products), hot=hot)

        ordinary = await measured(hot=False)
        start = ends(kafka)
        empty = await measured(hot=True)
        empty_log = on_log(kafka, start)
        stream = Steady(kafka, back_fill(drawn, number=10_000_000), per_s)
        stream.start()
        await measure(client, islice(fresh, 20), hot=False)  # the first batches of a stream are not its normal ones
        normal = await measured(hot=False)
        stream.stop()
        start = ends(kafka)
        await asyncio.to_thread(queue, kafka, islice(back_fill(drawn), queued))
        before, began = await indexed(client), time.perf_counter()
        full = await measured(hot=True)
        drained = await indexed(client) - before - products
        full_log = on_log(kafka, start)
        rate = drained / (time.perf_counter() - began)
    assert before + drained < queued, "the queue was empty before the end: give more --queued"
    return {
        "ordinary_empty_queue": spread(ordinary),
        "ordinary_in_a_stream": spread(normal),
        "stream_per_s": per_s,
        "hot_empty_queue": spread(empty),
        "hot_full_queue": spread(full),
        "hot_empty_queue_to_log": spread(empty_log),
        "hot_full_queue_to_log": spread(full_log),
        "queued": queued,
        "still_queued": queued - before - drained,
        "back_fill_per_s": round(rate, 1),
    }


def main() -> None:
    """Start a Freshlens of its own and measure it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--products", type=int, default=100)
    parser.add_argument("--drawn", type=int, default=64)
    parser.add_argument("--stream", type=float, default=40.0, help="products a second on a normal day")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Running(Path(folder) / "data") as running:
        figures = asyncio.run(
            run(running, queued=asked.queued, products=asked.products, drawn=asked.drawn, per_s=asked.stream)
        )
    save("hot_lane", "Publish hot to found, with nothing and with a back-fill queued on product-added", figures)


if __name__ == "__main__":
    main()
