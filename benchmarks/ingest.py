"""From the bytes of a picture to a record for index-log: how near does the pipeline come to the bare model?

*Bare* is the time of one core per picture: the model in batches of its best size, and decoding with preprocessing,
perceptual hash, quality and thumbnails. *Plain* is what people write first: one picture after another through
open_clip's own transform and model, on one core or on all, whichever is quicker. *Ours* is the worker's EmbedStep,
ViewMaker, decoder processes, encoding queue, cache and store, with an outbox in memory. All in one run, round by round
in turn; ratios are of one round, and medians over rounds are reported. Parity is the least cosine between ours and
plain.

    python -m benchmarks.ingest [--pictures 600] [--rounds 5] [--decoders 0] [--threads 0] [--plain-threads 0]
"""

import argparse
import asyncio
import io
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from benchmarks.cache import cache_folder
from benchmarks.freshness import picture
from benchmarks.report import save
from processors.encoders import cores
from processors.encoders.open_clip_encoder import BUNDLED, OpenClipEncoder, load_encoder
from processors.pictures.decode import THUMBNAIL_SIZES, decode
from processors.pictures.decoder_pool import DecoderPool
from schemas.clock import SystemClock
from schemas.embeddings import Vector, from_fp16
from schemas.events import Content, Offer, Picture, ProductAdded, Source
from schemas.framing import INDEX_LOG, PRODUCT_ADDED
from schemas.index_log import IndexLogRecord
from schemas.lane import Lane
from schemas.layout import Layout
from schemas.metrics import NullMetrics
from schemas.tenants import TenantDeclaration
from streams.app import Received
from streams.cache import EmbeddingCache
from streams.embed import EmbedStep
from streams.emitting import IndexLogWriter
from streams.encoding import EncodingQueue
from streams.ledger import Place, Ticket
from streams.views import ViewMaker
from streams.worker import DECODING_MAX
from topics.settings import KafkaSettings
from topics.store import FileStore

BARE_BATCH = 16
IN_FLIGHT = 256


class MemoryOutbox:
    """Takes the place of Kafka: confirms at once, and keeps what was sent."""

    def __init__(self) -> None:
        self.records: list[IndexLogRecord] = []

    async def send(self, _topic: str, _key: bytes | None, value: bytes, partition: int) -> tuple[int, int]:
        self.records.append(INDEX_LOG.decode(value, IndexLogRecord))
        return partition, len(self.records)


class _Confirmed:
    """A Finisher for a step that nobody commits."""

    def confirmed(self, ticket: Ticket, partition: int, next_offset: int) -> None:
        pass


class _Unheld:
    def check(self, event: ProductAdded) -> None:
        pass


def events(raws: Sequence[bytes], price: float = 1.0) -> list[Received]:
    """One product per picture, as product-added has them."""
    now_ms = int(time.time() * 1000)
    made = []
    for number, raw in enumerate(raws):
        content = Content(title=f"Product {number}", pictures=(Picture(inline=raw),))
        event = ProductAdded("shop", f"p-{number}", content=content, offer=Offer(price=price))
        source = Source("product-added", 0, number, now_ms)
        ticket = Ticket(Place("product-added", 0), number, 1)
        made.append(Received(ticket, source, f"shop/p-{number}".encode(), PRODUCT_ADDED.encode(event)))
    return made


class Pipeline:
    """The worker's own parts, composed as it composes them, with its outbox in memory."""

    def __init__(self, encoder: OpenClipEncoder, folder: Path, decoders: int) -> None:
        metrics, kafka, lane = NullMetrics(), KafkaSettings(""), Lane("main", encoder.space, Layout())
        self.outbox, self.queue = MemoryOutbox(), EncodingQueue(encoder, metrics)
        self.pool = DecoderPool(encoder.form, decoders)
        self.cache = EmbeddingCache(folder / "cache", encoder.encoder_id, 2 * encoder.space.dim, metrics)
        store, outbox = FileStore(folder / "store"), self.outbox
        source: Any = None  # every picture is inline
        views = ViewMaker(source, self.pool, self.queue, self.cache, store, metrics, decoding_max=DECODING_MAX)
        parts: dict[str, Any] = {
            "outbox": outbox, "finisher": _Confirmed(), "held": _Unheld(), "agreements": None,
        }  # fmt: skip
        writer: Any = IndexLogWriter(kafka, lane, outbox)  # type: ignore[arg-type]
        self.step = EmbedStep(
            kafka, lane, epoch=0, can_encode=True, views=views, writer=writer, store=store,
            declaration_of=TenantDeclaration, registry=None, clock=SystemClock(), metrics=metrics, **parts,
        )  # fmt: skip

    async def seconds(self, given: Sequence[Received]) -> float:
        """Put these events through; the time until the last is confirmed."""
        running, room = asyncio.create_task(self.queue.run()), asyncio.Semaphore(IN_FLIGHT)

        async def one(received: Received) -> None:
            await self.step.first(received)
            room.release()

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for received in given:
                await room.acquire()
                group.create_task(one(received))
        taken_s = time.perf_counter() - began
        running.cancel()
        return taken_s

    def close(self) -> None:
        self.queue.close()
        self.pool.close()
        self.cache.close()


def model_ms(encoder: OpenClipEncoder, pixels: Vector) -> float:
    """Of one picture, in batches of the usual size, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    batches = [pixels[start : start + BARE_BATCH] for start in range(0, len(pixels), BARE_BATCH)]
    began = time.perf_counter()
    for batch in batches:
        encoder.encode_images(batch)
    taken_s = time.perf_counter() - began
    torch.set_num_threads(threads)
    return taken_s * 1000 / len(pixels)


def decode_ms(encoder: OpenClipEncoder, raws: Sequence[bytes]) -> float:
    """Of one picture: decoding, preprocessing, hash, quality and thumbnails."""
    began = time.perf_counter()
    for raw in raws:
        decode(raw, encoder.form, thumbnail_sizes=THUMBNAIL_SIZES)
    return (time.perf_counter() - began) * 1000 / len(raws)


def plain(model: Any, transform: Any, raws: Sequence[bytes], threads: int) -> tuple[float, Vector]:
    """Seconds and vectors of one picture after another, as open_clip's own documentation does it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    vectors = []
    began = time.perf_counter()
    with torch.inference_mode():
        for raw in raws:
            given = transform(Image.open(io.BytesIO(raw))).unsqueeze(0)
            vectors.append(torch.nn.functional.normalize(model.encode_image(given), dim=-1).numpy()[0])
    taken_s = time.perf_counter() - began
    torch.set_num_threads(before)
    return taken_s, np.stack(vectors)


def ours(encoder: OpenClipEncoder, raws: Sequence[bytes], decoders: int, folder: Path) -> tuple[float, Vector]:
    """Seconds and vectors of the pipeline, in a folder of its own."""

    async def measured() -> tuple[float, Vector]:
        pipeline = Pipeline(encoder, folder, decoders)
        try:
            await pipeline.pool.warm()
            await pipeline.seconds(events(WARM))
            pipeline.outbox.records.clear()
            taken_s = await pipeline.seconds(events(raws))
        finally:
            pipeline.close()
        found = {record.product_id: record for record in pipeline.outbox.records}
        assert len(found) == len(raws)
        return taken_s, np.stack([_vector(found[f"p-{n}"], encoder.space.dim) for n in range(len(raws))])

    return asyncio.run(measured())


def _vector(record: IndexLogRecord, dim: int) -> Vector:
    assert record.content is not None
    return from_fp16(record.content.views[0].vector, dim)


WARM = [picture(number) for number in range(1_000_000, 1_000_064)]


def measure(pictures: int, rounds: int, decoders: int, threads: int, plain_threads: int) -> dict[str, Any]:
    """Every figure, as medians over rounds."""
    count = cores.cores()
    decoders = decoders or cores.decoders(count)
    encoder = load_encoder(BUNDLED, threads=threads)
    assert isinstance(encoder, OpenClipEncoder)
    folder = f"local-dir:{Path(__file__).parent.parent / 'processors' / 'bundled'}"
    model, _, transform = open_clip.create_model_and_transforms(folder)
    model.eval()
    tried = {plain_threads} if plain_threads else {1, count}
    raws = [picture(number) for number in range(pictures)]
    pixels = np.stack([decode(raw, encoder.form).pixels for raw in raws])
    model_ms(encoder, pixels)
    each, cosine = [], 1.0
    # One folder until the end: where files were just removed, ext4 takes ten times as long to make others.
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        for number in range(rounds):
            model_time, decode_time = model_ms(encoder, pixels), decode_ms(encoder, raws)
            plain_s, theirs = min((plain(model, transform, raws, t) for t in tried), key=lambda done: done[0])
            ours_s, vectors = ours(encoder, raws, decoders, Path(folder) / str(number))
            cosine = min(cosine, float((vectors * theirs).sum(axis=1).min()))
            rate, bare = pictures / ours_s, 1000 / (model_time + decode_time)
            each.append({
                "model_ms": model_time, "decode_ms": decode_time, "bare_per_s": bare,
                "plain_per_s": pictures / plain_s, "ours_per_s": rate, "ours_to_bare": rate / bare,
                "ours_to_plain": rate * plain_s / pictures,
            })  # fmt: skip
            print({name: round(value, 2) for name, value in each[-1].items()}, flush=True)
    medians = {name: round(statistics.median(one[name] for one in each), 3) for name in each[0]}
    return {
        **medians, "least_cosine_to_plain": round(cosine, 5), "pictures": pictures, "rounds": rounds,
        "decoders": decoders, "encoder_threads": encoder.threads,
        "plain_threads": sorted(tried), "precision": str(encoder.precision),
    }  # fmt: skip


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser()
    for name, default in (("pictures", 600), ("rounds", 5), ("decoders", 0), ("threads", 0), ("plain-threads", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    figures = measure(given.pictures, given.rounds, given.decoders, given.threads, given.plain_threads)
    save(
        "ingest", "Inline JPEG bytes to index-log records: the pipeline beside the bare model and a plain loop", figures
    )


if __name__ == "__main__":
    main()
