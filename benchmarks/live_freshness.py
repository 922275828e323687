"""At a steady rate of new pictures, how long from publish to searchable? And how long do deletes wait behind a flood?

Products with inline pictures are put on Kafka at a steady rate; every tenth goes through the API and is looked up with
its read token. Found means: the answer has the product, and says that the token was met. Then a flood of products is
queued, and while it is worked off, products are deleted one after another and looked up until they are gone. Beside
both stands what the bare model does on this machine, measured before anything runs: a busy or slow machine shows there.

    python -m benchmarks.live_freshness [--rate 100] [--seconds 60] [--flood 20000] [--deletes 200]
"""

import argparse
import asyncio
import base64
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hot_lane import TENANT, WAIT_MS, back_fill, ends, jpeg, queue
from benchmarks.report import save, spread
from freshlens.client import AsyncClient
from freshlens.log_reading import records
from freshlens.publishing import Following, Sender
from processors.encoders.open_clip_encoder import BUNDLED, load_encoder
from schemas import framing
from schemas.events import ProductAdded
from schemas.index_log import IndexLogRecord
from tests.running import Running
from topics.declarations import INDEX_LOG
from topics.publisher import Publisher
from topics.settings import KafkaSettings

LOOKED_UP_EVERY = 10
WARM_S = 10
"""The broker compiles and every process allocates in its first seconds; what queued up then is gone by the tenth."""
FLOOD_FROM = 10_000_000
"""No picture of the flood was embedded before."""


def bare_model_per_s() -> float:
    """Pictures a second of the model alone, on one thread, in batches of 16."""
    encoder = load_encoder(BUNDLED, threads=1)
    size = encoder.form.size
    pictures = np.random.default_rng(0).integers(0, 255, (16, size, size, 3), dtype=np.uint8)
    seconds = []
    for _ in range(40):
        began = time.perf_counter()
        encoder.encode_images(pictures)
        seconds.append(time.perf_counter() - began)
    return round(16 / float(np.median(seconds)), 1)


async def found(client: AsyncClient, product_id: str, token: str, *, visible: bool) -> None:
    """Return when a look-up says so."""
    answer = await client.lookup([product_id], min_offset=token, wait_ms=WAIT_MS)
    assert answer.freshness_met, answer.freshness
    assert answer.products[0].visible is visible, product_id


async def published(client: AsyncClient, number: int, drawn: bytes) -> float:
    """Seconds from publishing a product to finding it; what follows the end of a JPEG changes its hash alone."""
    product_id = f"live-{number}"
    picture = drawn + number.to_bytes(8)
    line = {
        "product_id": product_id,
        "title": f"live {number}",
        "image": {"base64": base64.b64encode(picture).decode()},
    }
    began = time.perf_counter()
    token = (await client.publish([line])).read_token
    await found(client, product_id, token, visible=True)
    return time.perf_counter() - began


async def steady(client: AsyncClient, kafka: KafkaSettings, rate: int, seconds: int) -> list[float]:
    """Publish at a rate; seconds to found of those looked up, after a few seconds to get going.

    All pictures are drawn before: drawing takes longer than embedding.
    """
    drawn, publisher, stream = [jpeg(number) for number in range(128)], Publisher(kafka), back_fill(128)
    sender, first = Sender(publisher, Following()), next(stream)
    sender.send(first.product_id, first)
    looking: list[asyncio.Task[float]] = []
    began = time.perf_counter()
    for number in range(rate * (seconds + WARM_S)):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        if number % LOOKED_UP_EVERY == 0:
            looking.append(asyncio.create_task(published(client, number, drawn[number % len(drawn)])))
        else:
            event = next(stream)
            sender.send(event.product_id, event)
    taken = await asyncio.gather(*looking)
    await asyncio.to_thread(publisher.close)
    assert not sender.failed, sender.failed[0]
    return taken[rate * WARM_S // LOOKED_UP_EVERY :]


def to_log(kafka: KafkaSettings, since: dict[int, int]) -> list[float]:
    """Seconds from the append of each event to the append of its record on index-log."""
    found = records(kafka, kafka.topic(INDEX_LOG), since, ends(kafka), lambda _done, _total: None)
    decoded = ((message, framing.INDEX_LOG.decode(message.value() or b"", IndexLogRecord)) for message in found)
    return [(message.timestamp()[1] - record.source.appended_at) / 1000 for message, record in decoded]


def flood(count: int) -> Iterator[ProductAdded]:
    """New products, each with a picture of its own."""
    return (
        ProductAdded(TENANT, f"flood-{number}", content=event.content)
        for number, event in enumerate(islice(back_fill(256, FLOOD_FROM), count))
    )


async def deleted(client: AsyncClient, numbers: range) -> list[float]:
    """Seconds from deleting a product to not finding it, one after another."""
    seconds = []
    for number in numbers:
        began = time.perf_counter()
        gone = await client.delete(f"live-{number}")
        await found(client, f"live-{number}", gone.read_token, visible=False)
        seconds.append(time.perf_counter() - began)
    return seconds


async def indexed(client: AsyncClient) -> int:
    """How many products can be found now."""
    return (await client.status()).products or 0


async def run(running: Running, asked: argparse.Namespace) -> dict[str, Any]:
    """The steady rate, then deletes on an idle machine, then deletes behind the flood."""
    kafka = KafkaSettings.from_env({"KAFKA_BOOTSTRAP_SERVERS": running.kafka})
    async with AsyncClient(running.url) as client:
        since = dict(ends(kafka))
        live = await steady(client, kafka, asked.rate, asked.seconds)
        log = to_log(kafka, since)
        looked_up = range(0, asked.rate * (asked.seconds + WARM_S), LOOKED_UP_EVERY)
        half = min(asked.deletes, len(looked_up) // 2)
        idle = await deleted(client, looked_up[:half])
        before = await indexed(client)
        await asyncio.to_thread(queue, kafka, flood(asked.flood))
        began = time.perf_counter()
        behind = await deleted(client, looked_up[half : 2 * half])
        done = await indexed(client) - before + half
        rate = done / (time.perf_counter() - began)
    return {
        "rate_per_s": asked.rate,
        "published_to_searchable": spread(live),
        "appended_to_index_log": spread(log),
        "deleted_to_gone_idle": spread(idle),
        "deleted_to_gone_behind_flood": spread(behind),
        "flood": asked.flood,
        "still_queued": asked.flood - done,
        "flood_per_s": round(rate, 1),
    }


def main() -> None:
    """Start a Freshlens of its own and measure it."""
    parser = argparse.ArgumentParser()
    for name, default in (("rate", 100), ("seconds", 60), ("flood", 20_000), ("deletes", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    bare = bare_model_per_s()
    with tempfile.TemporaryDirectory() as folder, Running(Path(folder) / "data") as running:
        figures = asyncio.run(run(running, asked))
    question = "Publish to searchable at a steady rate, and delete to gone behind a flood"
    save("live_freshness", question, {"bare_model_per_s": bare, **figures})


if __name__ == "__main__":
    main()
