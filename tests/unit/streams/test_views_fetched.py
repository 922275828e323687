"""What is fetched once: an unchanged picture is neither sent again nor embedded again, and the cache is never truth."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from processors.added import PictureView
from processors.encoders.encoder import PictureForm, Pixels
from processors.fetching.policy import Fetched, HasRoom, NoRoom, Validators, always
from processors.pictures.decode import Decoded, Quality
from processors.pictures.decoder_pool import DecoderPool
from schemas.embeddings import Space, Vector
from schemas.errors import ImageSourceUnavailable, UndecodableImage
from schemas.events import Picture
from schemas.hashing import content_hash
from schemas.metrics import NullMetrics
from streams import views
from streams.cache import EmbeddingCache
from streams.encoding import EncodingQueue
from streams.views import Obtained, ViewMaker
from topics.store import FileStore

URI = "https://cdn.example/a.jpg"


class Source:
    """One picture, whose ETag is its own bytes."""

    def __init__(self) -> None:
        self.raw: bytes | None = b"one"
        self.sent: list[bytes] = []
        self.not_modified = 0
        self.at_once = self.at_once_max = 0

    async def fetch(
        self, uri: str, *, timeout_s: float, known: Validators | None = None, has_room: HasRoom = always
    ) -> Fetched:
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        await asyncio.sleep(0)
        self.at_once -= 1
        if self.raw is None:
            raise ImageSourceUnavailable(f"{uri}: not there", retry_after_s=9)
        if known is not None and known.etag == self.raw.decode():
            self.not_modified += 1
            return Fetched(None, known)
        self.sent.append(self.raw)
        return Fetched(self.raw, Validators(content_hash(self.raw), self.raw.decode()))


class Model:
    """Counts what it encodes."""

    space, encoder_id, form = Space("test", 2), "test", PictureForm(2)

    def __init__(self) -> None:
        self.encoded = 0

    def encode_images(self, pictures: Pixels) -> Vector:
        self.encoded += len(pictures)
        return np.full((len(pictures), 2), 0.5**0.5, dtype=np.float32)

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        raise NotImplementedError

    def count_tokens(self, text: str) -> tuple[int, int]:
        raise NotImplementedError


class Pool:
    """Every picture is black, but for ``html``, which is none."""

    async def decode(self, raw: bytes, *, thumbnail_sizes: Sequence[int] = ()) -> Decoded:
        if raw == b"html":
            raise UndecodableImage("no picture")
        thumbnails = dict.fromkeys(thumbnail_sizes, b"thumbnail")
        return Decoded(np.zeros((2, 2, 3), np.uint8), 2, 2, bytes(8), Quality(0, 0, 0), thumbnails)


class Shop:
    """A ViewMaker that can be started again on what it kept."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.source, self.model = folder, Source(), Model()

    @asynccontextmanager
    async def running(self, variant: str = "model/1") -> AsyncIterator[ViewMaker]:
        metrics = NullMetrics()
        cache = EmbeddingCache(self.folder / "cache", variant, 4, metrics)
        queue = EncodingQueue(self.model, metrics)
        task = asyncio.create_task(queue.run())
        pool, store = cast("DecoderPool", Pool()), FileStore(self.folder / "store")
        try:
            yield ViewMaker(self.source, pool, queue, cache, store, metrics, decoding_max=4)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            queue.close()
            cache.close()

    async def obtained(self, tenant: str = "shop", variant: str = "model/1") -> Obtained:
        """After a start, as every worker has one now and then."""
        async with self.running(variant) as maker:
            return await maker.obtain(tenant, [PictureView(Picture(uri=URI))], timeout_s=1)

    def counts(self) -> tuple[int, int, int]:
        """(sent, found unchanged, encoded)."""
        return len(self.source.sent), self.source.not_modified, self.model.encoded


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def hashes(obtained: Obtained) -> list[bytes | None]:
    return [view.content_hash for view in obtained.ready]


async def test_an_unchanged_picture_is_neither_sent_nor_embedded_again(shop: Shop) -> None:
    first = await shop.obtained()
    assert shop.counts() == (1, 0, 1)
    assert await shop.obtained() == first
    assert await shop.obtained() == first
    assert shop.counts() == (1, 2, 1)
    shop.source.raw = b"two"
    assert hashes(await shop.obtained()) == [content_hash(b"two")]
    assert shop.counts() == (2, 2, 2)


async def test_another_tenant_gets_thumbnails_of_its_own_and_no_second_embedding(shop: Shop) -> None:
    await shop.obtained()
    await shop.obtained("other")
    assert shop.counts() == (2, 0, 1)
    await shop.obtained("other")
    assert shop.counts() == (2, 1, 1)


async def test_a_lost_cache_means_that_it_is_fetched_again(shop: Shop) -> None:
    first = await shop.obtained()
    (shop.folder / "cache").rename(shop.folder / "lost")
    assert await shop.obtained() == first
    assert shop.counts() == (2, 0, 2)


async def test_another_encoder_is_not_told_that_nothing_changed(shop: Shop) -> None:
    await shop.obtained()
    assert len((await shop.obtained(variant="model/2")).ready) == 1
    assert shop.counts() == (2, 0, 2)


async def test_a_known_picture_does_for_a_host_that_is_away_and_an_unknown_one_waits(shop: Shop) -> None:
    first = await shop.obtained()
    shop.source.raw = None
    assert await shop.obtained() == first
    waiting = await shop.obtained("other")
    assert not waiting.ready
    assert [error.retry_after_s for error in waiting.missing] == [9], "what the host said is not lost"


async def test_a_page_in_place_of_a_picture_is_refused_and_the_picture_is_not_forgotten(shop: Shop) -> None:
    first = await shop.obtained()
    shop.source.raw = b"html"
    assert [type(error) for error in (await shop.obtained()).refused] == [UndecodableImage]
    shop.source.raw = None
    assert await shop.obtained() == first


async def test_no_more_is_fetched_than_can_be_held(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "FETCHED_BYTES_MAX", 3 * views.EXPECTED_BYTES)
    async with shop.running() as maker:
        planned = [PictureView(Picture(uri=f"{URI}?{number}")) for number in range(8)]
        obtained = await asyncio.gather(*(maker.obtain("shop", [view], timeout_s=1) for view in planned))
        assert all(len(each.ready) == 1 for each in obtained)
        assert shop.source.at_once_max <= 3
        assert (maker._fetched.events, maker._fetched.bytes) == (0, 0)
        shop.source.raw = None
        await asyncio.gather(*(maker.obtain("other", [view], timeout_s=1) for view in planned))
        assert (maker._fetched.events, maker._fetched.bytes) == (0, 0), "failures give their room back"


async def test_larger_pictures_than_expected_take_no_more_room_than_there_is_and_all_come(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound, size, peak = 3 * views.EXPECTED_BYTES, 2 * views.EXPECTED_BYTES, 0
    monkeypatch.setattr(views, "FETCHED_BYTES_MAX", bound)

    async def arriving(uri: str, *, timeout_s: float, known: Validators | None, has_room: HasRoom) -> Fetched:
        nonlocal peak
        for arrived in range(0, size + 1, views.EXPECTED_BYTES // 4):
            await asyncio.sleep(0)
            if not has_room(arrived):
                raise NoRoom(size)
            peak = max(peak, maker._fetched.bytes)
        return Fetched(bytes(size), Validators(content_hash(uri.encode())))

    monkeypatch.setattr(shop.source, "fetch", arriving)
    async with shop.running() as maker:
        planned = [PictureView(Picture(uri=f"{URI}?{number}")) for number in range(8)]
        obtained = await asyncio.gather(*(maker.obtain("shop", [view], timeout_s=1) for view in planned))
        assert all(len(each.ready) == 1 for each in obtained)
        assert (maker._fetched.events, maker._fetched.bytes) == (0, 0)
    assert size < peak <= bound


async def test_a_known_picture_that_there_is_no_room_for_waits_and_is_not_taken_for_unchanged(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.obtained()
    shop.source.raw = b"two"
    rooms = [NoRoom(10)]
    honest = shop.source.fetch

    async def crowded(uri: str, **how: Any) -> Fetched:
        if rooms:
            raise rooms.pop()
        return await honest(uri, **how)

    monkeypatch.setattr(shop.source, "fetch", crowded)
    assert hashes(await shop.obtained()) == [content_hash(b"two")]
