"""The queue before the model: order, batches, and an item that fails alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from processors.encoder import PictureForm, Pixels
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
