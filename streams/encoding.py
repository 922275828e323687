"""The queue before the model: micro-batches cut by predicted time, in a thread, while the next are decoded."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import Any

import numpy as np
import structlog

from processors.encoders.batching import BatchTimes
from processors.encoders.encoder import Encoder, Pixels, is_out_of_memory
from schemas.embeddings import Vector
from schemas.errors import EncoderFailed
from schemas.metrics import Metrics

GATHER_S = 0.050
"""So long the first of a batch waits for others on their way: one call for all costs far less than a call for each."""
_log = structlog.get_logger()


class EncodingQueue:
    """Gathers what has arrived into calls of the model; run :meth:`run` as a task of the same event loop.

    A call begins with as many items as pay best, or sooner: at once if nothing more is on its way, and at the latest
    50 ms after its first item came. A call that does not fit into memory is halved. Texts do not wait for pictures.
    """

    def __init__(self, encoder: Encoder, metrics: Metrics) -> None:
        self._encoder, self._metrics = encoder, metrics
        self._on_their_way = 0
        self._images = _Line(
            "image", lambda pixels: encoder.encode_images(np.stack(pixels)), self._is_more_coming, metrics
        )
        self._texts = _Line("text", self._encode_texts, self._is_more_coming, metrics)

    @contextmanager
    def coming(self) -> Iterator[None]:
        """While a picture is being decoded, others may wait for it; call :meth:`encode_image` right afterwards."""
        self._on_their_way += 1
        try:
            yield
        finally:
            self._on_their_way -= 1
            self._images.wake()

    async def encode_image(self, pixels: Pixels, *, urgent: bool = False) -> Vector:
        """(size, size, 3) uint8 → (dim,) float32; raises EncoderFailed if the model fails on this very picture.

        ``urgent``: goes into the next call of the model, past everything that waits.
        """
        return await self._images.encoded(pixels, urgent)

    async def encode_text(self, text: str, *, urgent: bool = False) -> Vector:
        """Text → (dim,) float32; raises EncoderFailed if the model fails on this very text; ``urgent`` as above."""
        return await self._texts.encoded(text, urgent)

    async def run(self) -> None:
        """Encode until cancelled."""
        await asyncio.gather(self._images.run(), self._texts.run())

    def close(self) -> None:
        self._images.close()
        self._texts.close()

    def _is_more_coming(self) -> bool:
        return self._on_their_way > 0

    def _encode_texts(self, texts: Sequence[str]) -> Vector:
        for text in texts:
            seen, cut = self._encoder.count_tokens(text)
            self._metrics.count("freshlens_text_tokens_total", seen, part="seen")
            self._metrics.count("freshlens_text_tokens_total", cut, part="cut")
        return self._encoder.encode_texts(texts)


@dataclass(slots=True)
class _Waiting:
    item: Any
    result: "asyncio.Future[Vector]"
    since: float


class _Line:
    """What waits to be encoded in one way, how, and how long that took lately."""

    def __init__(
        self,
        kind: str,
        encode: Callable[[Sequence[Any]], Vector],
        is_more_coming: Callable[[], bool],
        metrics: Metrics,
    ) -> None:
        self._kind, self._encode, self._is_more_coming, self._metrics = kind, encode, is_more_coming, metrics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"encoder-{kind}")
        self._urgent: deque[_Waiting] = deque()
        self._waiting: deque[_Waiting] = deque()
        self._times = BatchTimes()
        self._arrived = asyncio.Event()

    def wake(self) -> None:
        """Something arrived, or will not."""
        self._arrived.set()

    async def encoded(self, item: Any, urgent: bool) -> Vector:
        result: asyncio.Future[Vector] = asyncio.get_running_loop().create_future()
        (self._urgent if urgent else self._waiting).append(_Waiting(item, result, perf_counter()))
        self.wake()
        return await result

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._urgent or self._waiting:
                await self._gather()
                await self._encode_some(self._urgent or self._waiting)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _gather(self) -> None:
        """Wait for a full batch while more is on its way, unless something urgent comes."""
        while not self._urgent and len(self._waiting) < self._times.full and self._is_more_coming():
            rest_s = self._waiting[0].since + GATHER_S - perf_counter()
            if rest_s <= 0:
                return
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(rest_s):
                    await self._arrived.wait()

    async def _encode_some(self, line: deque[_Waiting]) -> None:
        batch = [line.popleft() for _ in range(self._times.cut(len(line)))]
        try:
            vectors = await self._called(batch)
        except Exception as error:
            if is_out_of_memory(error) and len(batch) > 1:
                self._halve(len(batch))
                line.extendleft(reversed(batch))
                return
            # One bad item fails its batch: each is tried alone, so that it costs only itself.
            for waiting in batch:
                await self._encode_alone(waiting)
            return
        for waiting, vector in zip(batch, vectors, strict=True):
            _settle(waiting.result, vector)

    def _halve(self, items: int) -> None:
        self._times = self._times.after_out_of_memory(items)
        _log.warning("out of memory: smaller batches", kind=self._kind, items=items, at_most=self._times.items_max)

    async def _encode_alone(self, waiting: _Waiting) -> None:
        try:
            _settle(waiting.result, (await self._called([waiting]))[0])
        except Exception as error:
            failed = EncoderFailed(f"the encoder failed: {error}")
            if not waiting.result.done():
                waiting.result.set_exception(failed)

    async def _called(self, batch: list[_Waiting]) -> Vector:
        started = perf_counter()
        for waiting in batch:
            self._metrics.observe("freshlens_ingest_stage_seconds", started - waiting.since, stage="queue")
        items = [waiting.item for waiting in batch]
        vectors, busy_s = await asyncio.get_running_loop().run_in_executor(self._thread, self._timed, items)
        seconds = perf_counter() - started
        self._times = self._times.after(len(batch), busy_s)
        self._metrics.observe("freshlens_encode_batch_seconds", seconds)
        self._metrics.observe("freshlens_ingest_stage_seconds", seconds, stage="encode")
        self._metrics.count("freshlens_encoded_items_total", len(batch), kind=self._kind)
        return vectors

    def _timed(self, items: Sequence[Any]) -> tuple[Vector, float]:
        """Vectors, and the processor time of this thread (which waits for a GPU by asking it again and again).

        By the clock a busy machine would be given smaller and smaller batches, and these cost it the more.
        """
        began = thread_time()
        return self._encode(items), thread_time() - began


def _settle(result: "asyncio.Future[Vector]", vector: Vector) -> None:
    if not result.done():
        result.set_result(vector)
