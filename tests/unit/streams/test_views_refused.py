"""What a view is made of: the quality gate, the block list, frames of videos, and that one costs the others nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from processors.added import PictureView, PlannedView, VectorView, VideoView
from processors.encoders.encoder import PictureForm, Pixels
from processors.fetching.policy import Fetched, HasRoom, Validators, always
from processors.pictures.blocklist import BlockEntry, BlockList, BlockListStore, hashes_of
from processors.pictures.decode import Decoded, DecodeLimits, decode
from processors.pictures.quality_gate import Gate
from processors.pictures.safety import SafetyScorer
from processors.pictures.video import KeyFrame, VideoLimits, key_frames
from schemas.embeddings import Space, Vector, to_fp16
from schemas.errors import ImageSourceUnavailable
from schemas.events import Picture
from schemas.hashing import content_hash
from schemas.index_log import VIEWS_MAX
from schemas.metrics import RecordingMetrics
from streams import views
from streams.cache import EmbeddingCache
from streams.encoding import EncodingQueue
from streams.views import Obtained, ViewMaker
from tests import hostile, videos
from topics.store import FileStore, original_key
from topics.thumbnails import get_thumbnail

FORM = PictureForm(16, "squash")
GOOD = hostile.saved(Image.fromarray(videos.scene(1, 200, 200)), "JPEG")
OTHER = hostile.saved(Image.fromarray(videos.scene(2, 200, 200)), "JPEG")
SHARP = hostile.saved(hostile.picture(), "PNG")
BLANK = hostile.saved(Image.new("RGB", (100, 100), "grey"), "PNG")
VIDEO = videos.video(videos.scenes([3, 4]))
URI = "https://x/clip.mp4"
DECODING_MAX = 4


class Encoding:
    """The mean colour as a vector of unit norm; counts what it encodes."""

    space, encoder_id, form = Space("test", 3), "test", FORM
    encoded = 0

    def encode_images(self, pictures: Pixels) -> Vector:
        self.encoded += len(pictures)
        means = pictures.reshape(len(pictures), -1, 3).mean(1) + 1
        vectors: Vector = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
        return vectors

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        raise NotImplementedError

    def count_tokens(self, text: str) -> tuple[int, int]:
        return len(text), 0


class DecodingHere:
    """A DecoderPool without processes."""

    decoded = 0

    async def decode(self, raw: bytes, *, thumbnail_sizes: Sequence[int] = ()) -> Decoded:
        self.decoded += 1
        return decode(raw, FORM, thumbnail_sizes=thumbnail_sizes)

    async def key_frames(self, raw: bytes, *, frames_max: int, thumbnail_sizes: Sequence[int] = ()) -> list[KeyFrame]:
        self.decoded += 1
        return key_frames(
            raw, FORM, DecodeLimits(), VideoLimits(), frames_max=frames_max, thumbnail_sizes=thumbnail_sizes
        )


class Source:
    """The video at its address, until it is away; and a picture at those that say so."""

    is_away = False
    sent = 0

    async def fetch(
        self, uri: str, *, timeout_s: float, known: Validators | None = None, has_room: HasRoom = always
    ) -> Fetched:
        if self.is_away:
            raise ImageSourceUnavailable(f"{uri} is away")
        raw = GOOD if uri.endswith(".jpg") else VIDEO
        validators = Validators(content_hash(raw), etag="1")
        if known == validators:
            return Fetched(None, validators)
        self.sent += 1
        return Fetched(raw, validators)


class Bench:
    """A ViewMaker and all it works with."""

    def __init__(self, folder: Path) -> None:
        self.store, self.metrics = FileStore(folder / "store"), RecordingMetrics()
        self.encoder, self.pool, self.source = Encoding(), DecodingHere(), Source()
        self.cache = EmbeddingCache(folder / "cache", "test", 6, self.metrics)
        self.queue = EncodingQueue(self.encoder, self.metrics)

    async def obtain(self, *planned: PlannedView, gate: Gate | None = None, frames_max: int = 4) -> Obtained:
        maker = ViewMaker(
            self.source,
            self.pool,  # type: ignore[arg-type]
            self.queue,
            self.cache,
            self.store,
            self.metrics,
            decoding_max=DECODING_MAX,
            gate=gate or Gate(),
            frames_max=frames_max,
        )
        return await maker.obtain("shop", planned, timeout_s=1.0)

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.values.get((name, tuple(sorted(labels.items()))), 0)

    def block(self, raw: bytes) -> Gate:
        hashes = hashes_of(raw)
        BlockListStore(self.store).add(BlockEntry(hashes[0], "shop", hashes, 1, "me"))
        return Gate(blocked=BlockList(self.store, bits=8))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    async with running(bench.queue):
        yield bench
    bench.cache.close()


@asynccontextmanager
async def running(queue: EncodingQueue) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    queue.close()


def inline(raw: bytes) -> PictureView:
    return PictureView(Picture(inline=raw))


async def test_a_picture_waits_for_no_video(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def after_the_picture(*_: object, **__: object) -> list[KeyFrame]:
        while not bench.encoder.encoded:
            await asyncio.sleep(0)
        return []

    monkeypatch.setattr(bench.pool, "key_frames", after_the_picture)
    monkeypatch.setattr(views, "FETCHED_BYTES_MAX", 1)  # room for the bytes of one video, and of one picture
    clips = [VideoView(f"{URI}?{number}") for number in range(DECODING_MAX)]
    async with asyncio.timeout(20):
        obtained = await bench.obtain(*clips, PictureView(Picture(uri="https://shop.example/good.jpg")))
    assert [view.content_hash for view in obtained.ready] == [content_hash(GOOD)]


async def test_flags_come_with_the_view_the_second_time_too(bench: Bench) -> None:
    for _ in range(2):
        obtained = await bench.obtain(inline(SHARP), inline(BLANK))
        assert [view.flags for view in obtained.ready] == [(), ("blank", "blurred")]
    assert bench.encoder.encoded == 2
    assert bench.counted("freshlens_picture_flags_total", flag="blank") == 1


async def test_a_flag_that_is_set_refuses_before_anything_is_encoded_or_stored(bench: Bench) -> None:
    obtained = await bench.obtain(inline(GOOD), inline(BLANK), gate=Gate(frozenset({"blank"})))
    assert [view.content_hash for view in obtained.ready] == [content_hash(GOOD)]
    assert [error.code for error in obtained.refused] == ["picture-rejected"]
    assert bench.counted("freshlens_views_refused_total", code="picture-rejected") == 1
    assert bench.encoder.encoded == 1
    assert not bench.store.exists(original_key(content_hash(BLANK).hex()))


async def test_a_flag_that_is_set_later_refuses_what_is_in_the_cache(bench: Bench) -> None:
    await bench.obtain(inline(BLANK))
    obtained = await bench.obtain(inline(BLANK), gate=Gate(frozenset({"blank"})))
    assert [error.code for error in obtained.refused] == ["picture-rejected"]


async def test_a_blocked_picture_is_refused_new_or_known(bench: Bench) -> None:
    await bench.obtain(inline(GOOD))
    gate = bench.block(GOOD)
    mirrored = hostile.saved(Image.fromarray(videos.scene(1, 200, 200)[:, ::-1]), "PNG")
    obtained = await bench.obtain(inline(GOOD), inline(mirrored), inline(OTHER), gate=gate)
    assert [error.code for error in obtained.refused] == ["picture-blocked"] * 2
    assert [view.content_hash for view in obtained.ready] == [content_hash(OTHER)]


async def test_a_safety_score_refuses_new_or_known(bench: Bench) -> None:
    reddish = SafetyScorer(np.array([100, -100, 0], np.float32), 0.0, 0.9)
    red = hostile.saved(Image.new("RGB", (100, 100), "red"), "PNG")
    for _ in range(2):
        obtained = await bench.obtain(inline(red), gate=Gate(scorer=reddish))
        assert [error.code for error in obtained.refused] == ["picture-rejected"]


async def test_frames_are_views_with_their_time_and_a_picture_each(bench: Bench) -> None:
    obtained = await bench.obtain(inline(GOOD), VideoView(URI))
    picture, *frames = obtained.ready
    assert picture.kind == "image"
    assert [(view.kind, view.frame, view.uri) for view in frames] == [("frame", 0, URI), ("frame", 1, URI)]
    times = [view.timestamp_ms for view in frames]
    assert times[0] is not None
    assert times[1] is not None
    assert 0 <= times[0] < 1000 <= times[1] < 2000
    for view in frames:
        assert view.content == content_hash(VIDEO)
        assert view.content_hash is not None
        name = view.content_hash.hex()
        assert content_hash(bench.store.get(original_key(name))) == view.content_hash
        assert get_thumbnail(bench.store, "shop", name, 96).startswith(b"\xff\xd8")


async def test_a_known_video_is_neither_sent_nor_decoded_nor_encoded_again(bench: Bench) -> None:
    first = await bench.obtain(VideoView(URI))
    assert (await bench.obtain(VideoView(URI))).ready == first.ready
    bench.source.is_away = True
    assert (await bench.obtain(VideoView(URI))).ready == first.ready
    assert (bench.source.sent, bench.pool.decoded, bench.encoder.encoded) == (1, 1, 2)


async def test_other_numbers_of_frames_are_other_frames(bench: Bench) -> None:
    assert len((await bench.obtain(VideoView(URI), frames_max=1)).ready) == 1
    assert len((await bench.obtain(VideoView(URI), frames_max=4)).ready) == 2


async def test_a_blocked_frame_costs_only_itself(bench: Bench) -> None:
    gate = bench.block(hostile.saved(Image.fromarray(videos.scene(3)), "PNG"))
    obtained = await bench.obtain(VideoView(URI), gate=gate)
    assert [view.frame for view in obtained.ready] == [1]
    assert [error.code for error in obtained.refused] == ["picture-blocked"]


async def test_broken_views_cost_the_others_nothing(bench: Bench) -> None:
    broken = [inline(make()) for make in (*hostile.TRUNCATED.values(), *hostile.TOO_LARGE.values())]
    obtained = await bench.obtain(*broken, inline(GOOD), VideoView(URI))
    assert [view.kind for view in obtained.ready] == ["image", "frame", "frame"]
    assert len(obtained.refused) == len(broken)
    counted = [bench.counted("freshlens_views_refused_total", code=each.code) for each in obtained.refused]
    assert set(counted) == {len(hostile.TRUNCATED), len(hostile.TOO_LARGE)}


async def test_what_is_away_is_told_apart_from_what_is_broken(bench: Bench) -> None:
    bench.source.is_away = True
    obtained = await bench.obtain(VideoView(URI), inline(b"garbage"), inline(GOOD))
    assert [len(part) for part in (obtained.ready, obtained.refused, obtained.missing)] == [1, 1, 1]


async def test_frames_beyond_the_most_views_are_left_out_and_pictures_go_first(bench: Bench) -> None:
    vector = to_fp16(np.array([1, 0, 0], np.float32))
    planned = [inline(GOOD), *[VectorView(vector)] * (VIEWS_MAX - 2), VideoView(URI)]
    obtained = await bench.obtain(*planned)
    assert [view.kind for view in obtained.ready] == ["image", *["vector"] * (VIEWS_MAX - 2), "frame"]
    assert obtained.left_out == 1
