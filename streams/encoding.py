"""The queue before the model: micro-batches cut by predicted time, in a thread, while the next are decoded."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from processors.batching import BatchTimes
from processors.encoder import Encoder, Pixels
from schemas.embeddings import Vector
from schemas.errors import EncoderFailed
from schemas.metrics import Metrics


@dataclass(slots=True)
class _Waiting:
    item: Any
    result: "asyncio.Future[Vector]"


@dataclass(slots=True)
class _Kind:
    """Pictures, or texts: what waits, how it is encoded, and how long that took lately."""

    name: str
    encode: Callable[[Sequence[Any]], Vector]
    waiting: deque[_Waiting] = field(default_factory=deque)
    times: BatchTimes = field(default_factory=BatchTimes)


class EncodingQueue:
    """Gathers what has arrived into calls of the model; run :meth:`run` as a task of the same event loop."""

    def __init__(self, encoder: Encoder, metrics: Metrics) -> None:
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._images = _Kind("image", lambda pixels: encoder.encode_images(np.stack(pixels)))
        self._texts = _Kind("text", encoder.encode_texts)
        self._arrived = asyncio.Event()

    async def encode_image(self, pixels: Pixels) -> Vector:
        """(size, size, 3) uint8 → (dim,) float32; raises EncoderFailed if the model fails on this very picture."""
        return await self._encoded(self._images, pixels)

    async def encode_text(self, text: str) -> Vector:
        """Text → (dim,) float32; raises EncoderFailed if the model fails on this very text."""
        return await self._encoded(self._texts, text)

    async def run(self) -> None:
        """Encode until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._images.waiting or self._texts.waiting:
                for kind in (self._texts, self._images):
                    if kind.waiting:
                        await self._encode_some(kind)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _encoded(self, kind: _Kind, item: Any) -> Vector:
        result: asyncio.Future[Vector] = asyncio.get_running_loop().create_future()
        kind.waiting.append(_Waiting(item, result))
        self._arrived.set()
        return await result

    async def _encode_some(self, kind: _Kind) -> None:
        batch = [kind.waiting.popleft() for _ in range(kind.times.cut(len(kind.waiting)))]
        try:
            vectors = await self._called(kind, batch)
        except Exception:
            # One bad item fails its batch: each is tried alone, so that it costs only itself.
            for waiting in batch:
                await self._encode_alone(kind, waiting)
            return
        for waiting, vector in zip(batch, vectors, strict=True):
            _settle(waiting.result, vector)

    async def _encode_alone(self, kind: _Kind, waiting: _Waiting) -> None:
        try:
            _settle(waiting.result, (await self._called(kind, [waiting]))[0])
        except Exception as error:
            failed = EncoderFailed(f"the encoder failed: {error}")
            if not waiting.result.done():
                waiting.result.set_exception(failed)

    async def _called(self, kind: _Kind, batch: list[_Waiting]) -> Vector:
        started = perf_counter()
        items = [waiting.item for waiting in batch]
        vectors = await asyncio.get_running_loop().run_in_executor(self._thread, kind.encode, items)
        seconds = perf_counter() - started
        kind.times = kind.times.after(len(batch), seconds)
        self._metrics.observe("freshlens_encode_batch_seconds", seconds)
        self._metrics.count("freshlens_encoded_items_total", len(batch), kind=kind.name)
        return vectors


def _settle(result: "asyncio.Future[Vector]", vector: Vector) -> None:
    if not result.done():
        result.set_result(vector)
