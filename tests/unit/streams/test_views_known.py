"""What was encoded once is not encoded again: pictures, texts, and both after a restart."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from processors.added import PictureView, ReadyView, TextView
from processors.encoders.encoder import PictureForm, Pixels
from processors.pictures.decode import Decoded, Quality
from schemas.embeddings import Space, Vector
from schemas.events import Picture
from schemas.metrics import RecordingMetrics
from streams.cache import EmbeddingCache
from streams.encoding import EncodingQueue
from streams.views import ViewMaker
from topics.store import FileStore

PICTURE = PictureView(Picture(inline=b"picture"))


class Model:
    """Counts what it encodes."""

    space, encoder_id, form = Space("test", 2), "test", PictureForm(2)

    def __init__(self) -> None:
        self.encoded = 0

    def encode_images(self, pictures: Pixels) -> Vector:
        return self._vectors(len(pictures))

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        return self._vectors(len(texts))

    def count_tokens(self, text: str) -> tuple[int, int]:
        return len(text), 0

    def _vectors(self, count: int) -> Vector:
        self.encoded += count
        return np.full((count, 2), 0.5**0.5, dtype=np.float32)


class Pool:
    """Counts what it decodes; everything is a black picture."""

    def __init__(self) -> None:
        self.decoded = 0

    async def decode(self, _raw: bytes, *, thumbnail_sizes: Sequence[int] = ()) -> Decoded:
        self.decoded += 1
        thumbnails = dict.fromkeys(thumbnail_sizes, b"thumbnail")
        return Decoded(np.zeros((2, 2, 3), np.uint8), 2, 2, bytes(8), Quality(0, 0, 0), thumbnails)


@asynccontextmanager
async def running(
    folder: Path, model: Model, pool: Pool, metrics: RecordingMetrics, store_name: str = "store"
) -> AsyncIterator[ViewMaker]:
    cache = EmbeddingCache(folder / "cache", "model/1", 4, metrics, store=store_name)
    queue = EncodingQueue(model, metrics)
    task = asyncio.create_task(queue.run())
    source: Any = None
    decoders: Any = pool
    store = FileStore(folder / store_name)
    try:
        yield ViewMaker(source, decoders, queue, cache, store, metrics, decoding_max=4)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        queue.close()
        cache.close()


async def test_a_picture_and_a_text_are_encoded_once_and_stay_known(tmp_path: Path) -> None:
    model, pool, metrics = Model(), Pool(), RecordingMetrics()
    made: list[tuple[ReadyView, ...]] = []
    for _ in range(2):
        async with running(tmp_path, model, pool, metrics) as maker:
            for planned in ([PICTURE], [TextView("a mug")], [PICTURE, TextView("a mug")]):
                obtained = await maker.obtain("shop", planned, timeout_s=1)
                assert not obtained.refused
                made.append(obtained.ready)
    assert (model.encoded, pool.decoded) == (2, 1)
    assert made[:3] == made[3:]
    assert [view.kind for view in made[2]] == ["image", "text"]
    looked_up = {dict(labels)["result"]: n for (name, labels), n in metrics.values.items() if "cache_total" in name}
    assert looked_up == {"miss": 2, "hit": 6}
    stages = {dict(labels)["stage"] for (name, labels) in metrics.values if name == "freshlens_ingest_stage_seconds"}
    assert stages == {"decode", "queue", "encode", "store"}


async def test_what_another_store_has_is_put_into_this_one(tmp_path: Path) -> None:
    model, pool = Model(), Pool()
    for store_name in ("store", "bucket"):
        async with running(tmp_path, model, pool, RecordingMetrics(), store_name) as maker:
            await maker.obtain("shop", [PICTURE], timeout_s=1)
    there = [sorted(FileStore(tmp_path / name).list("")) for name in ("store", "bucket")]
    assert there[0] == there[1] != []
    assert model.encoded == 1, "the vector is the same wherever the picture lies"


async def test_asking_whether_a_text_is_known_is_no_look_up_that_missed(tmp_path: Path) -> None:
    metrics = RecordingMetrics()
    async with running(tmp_path, Model(), Pool(), metrics) as maker:
        assert maker.known_text_vector("a mug") is None
        vector = await maker.text_vector("a mug")
        assert maker.known_text_vector("a mug") == vector
    assert metrics.values["freshlens_embedding_cache_total", (("result", "miss"),)] == 1
