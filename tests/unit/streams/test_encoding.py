"""The queue before the model: order, batches, and an item that fails alone."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
import torch

from processors.encoders.batching import RECOVERY_CALLS, bucket
from processors.encoders.encoder import PictureForm, Pixels
from schemas.embeddings import Space, Vector
from schemas.errors import EncoderFailed
from schemas.metrics import RecordingMetrics
from streams.encoding import EncodingQueue


class Counting:
    """Vectors that say which picture they are of; picture 13 breaks every batch it is in."""

    space, encoder_id, form = Space("test", 2), "test", PictureForm(2)

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode_images(self, pictures: Pixels) -> Vector:
        self.batches.append(len(pictures))
        if (pictures == 13).any():
            raise RuntimeError("thirteen")
        return np.stack([[picture[0, 0, 0], 1] for picture in pictures]).astype(np.float32)

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        return np.array([[len(text), 0] for text in texts], dtype=np.float32)

    def count_tokens(self, text: str) -> tuple[int, int]:
        return min(3, len(text)), max(0, len(text) - 3)


@asynccontextmanager
async def running(queue: EncodingQueue) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    queue.close()


def picture(number: int) -> Pixels:
    return np.full((2, 2, 3), number, dtype=np.uint8)


async def test_everyone_gets_their_own_vector_in_few_calls() -> None:
    encoder, metrics = Counting(), RecordingMetrics()
    queue = EncodingQueue(encoder, metrics)
    async with running(queue):
        vectors = await asyncio.gather(*(queue.encode_image(picture(number)) for number in range(100, 200)))
        text = await queue.encode_text("four")
    assert [vector[0] for vector in vectors] == list(range(100, 200))
    assert text.tolist() == [4, 0]
    assert sum(encoder.batches) == 100
    assert len(encoder.batches) < 30
    assert metrics.values["freshlens_encoded_items_total", (("kind", "image"),)] == 100


async def test_an_item_that_breaks_its_batch_costs_only_itself() -> None:
    queue = EncodingQueue(Counting(), RecordingMetrics())
    async with running(queue):
        numbers = [1, 2, 13, 3]
        outcomes = await asyncio.gather(*(queue.encode_image(picture(n)) for n in numbers), return_exceptions=True)
    assert isinstance(outcomes[2], EncoderFailed)
    assert [outcomes[place][0] for place in (0, 1, 3)] == [1, 2, 3]  # type: ignore[index]


async def test_a_caller_that_went_away_harms_nobody() -> None:
    queue = EncodingQueue(Counting(), RecordingMetrics())
    async with running(queue):
        gone = asyncio.create_task(queue.encode_image(picture(1)))
        stays = asyncio.create_task(queue.encode_image(picture(2)))
        await asyncio.sleep(0)
        gone.cancel()
        assert (await stays)[0] == 2
    with pytest.raises(asyncio.CancelledError):
        await gone


class Scribe(Counting):
    """Notes the order in which pictures were encoded."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def encode_images(self, pictures: Pixels) -> Vector:
        self.seen += [int(picture[0, 0, 0]) for picture in pictures]
        return super().encode_images(pictures)


async def test_what_is_urgent_goes_into_the_next_call_past_all_that_waits() -> None:
    scribe = Scribe()
    queue = EncodingQueue(scribe, RecordingMetrics())
    waiting = [asyncio.create_task(queue.encode_image(picture(number))) for number in range(100, 200)]
    urgent = [asyncio.create_task(queue.encode_image(picture(number), urgent=True)) for number in (1, 2)]
    text = asyncio.create_task(queue.encode_text("four", urgent=True))
    await asyncio.sleep(0)
    async with running(queue):
        await asyncio.gather(*waiting, *urgent, text)
    assert scribe.seen == [1, 2, *range(100, 200)]
    assert (await text).tolist() == [4, 0]


async def test_what_becomes_urgent_waits_for_the_running_call_alone() -> None:
    scribe = Scribe()
    queue = EncodingQueue(scribe, RecordingMetrics())
    async with running(queue):
        waiting = [asyncio.create_task(queue.encode_image(picture(number))) for number in range(100, 200)]
        await waiting[0]
        seen = len(scribe.seen)
        await queue.encode_image(picture(1), urgent=True)
        assert scribe.seen.index(1) <= seen + scribe.batches[1]
        await asyncio.gather(*waiting)
    assert sorted(scribe.seen) == [1, *range(100, 200)]


class Small(Counting):
    """Has memory for so many pictures at a time; at first for many."""

    def __init__(self, error: type[Exception]) -> None:
        super().__init__()
        self.error, self.most = error, 4

    def encode_images(self, pictures: Pixels) -> Vector:
        if len(pictures) > self.most:
            self.batches.append(-len(pictures))
            raise self.error("out of memory")
        return super().encode_images(pictures)


async def all_encoded(queue: EncodingQueue, numbers: range) -> list[int]:
    vectors = await asyncio.gather(*(queue.encode_image(picture(number)) for number in numbers))
    return [int(vector[0]) for vector in vectors]


@pytest.mark.parametrize("error", [MemoryError, torch.cuda.OutOfMemoryError])
async def test_out_of_memory_halves_the_batch_and_its_size_comes_back(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every call takes as long as any other, so the larger a batch, the better.
    monkeypatch.setattr("streams.encoding.thread_time", itertools.count(0, 0.001).__next__)
    small = Small(error)
    queue = EncodingQueue(small, RecordingMetrics())
    async with running(queue):
        while min(small.batches, default=0) >= 0:
            assert await all_encoded(queue, range(100, 200)) == list(range(100, 200))
        failed = small.batches.index(min(small.batches))
        size = -small.batches[failed]
        assert size > 4
        assert abs(small.batches[failed + 1]) == bucket(size) // 2
        small.most = 1000
        for _ in range(4 * RECOVERY_CALLS):
            if max(small.batches) >= size:
                break
            await all_encoded(queue, range(100, 200))
    assert max(small.batches) >= size
    assert sum(count for count in small.batches if count > 0) % 100 == 0


async def test_a_picture_that_never_fits_costs_only_itself() -> None:
    small = Small(MemoryError)
    small.most = 0
    queue = EncodingQueue(small, RecordingMetrics())
    async with running(queue):
        with pytest.raises(EncoderFailed):
            await queue.encode_image(picture(1))


async def test_a_batch_waits_for_pictures_on_their_way_and_texts_do_not() -> None:
    encoder = Counting()
    queue = EncodingQueue(encoder, RecordingMetrics())
    async with running(queue):
        await queue.encode_image(picture(100))
        with queue.coming():
            first = asyncio.create_task(queue.encode_image(picture(101)))
            text = await asyncio.wait_for(queue.encode_text("four"), 10)
        second = asyncio.create_task(queue.encode_image(picture(102)))
        assert [(await task)[0] for task in (first, second)] == [101, 102]
    assert text.tolist() == [4, 0]
    assert encoder.batches in ([1, 2], [1, 1, 1])


async def test_the_share_of_texts_that_is_cut_is_counted() -> None:
    metrics = RecordingMetrics()
    queue = EncodingQueue(Counting(), metrics)
    async with running(queue):
        await asyncio.gather(queue.encode_text("four"), queue.encode_text("twelve chars"))
    assert metrics.values["freshlens_text_tokens_total", (("part", "seen"),)] == 6
    assert metrics.values["freshlens_text_tokens_total", (("part", "cut"),)] == 10
