"""From a planned view to a vector: fetch, hash, cache, decode, store, encode."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias

import structlog

from processors.added import PictureView, PlannedView, ReadyView, TextView, VectorView, VideoView
from processors.fetching.policy import Fetched, NoRoom, PictureSource, Validators
from processors.pictures.decode import THUMBNAIL_SIZES, Decoded
from processors.pictures.decoder_pool import DecoderPool
from processors.pictures.quality_gate import Gate
from processors.pictures.video import KeyFrame
from schemas.embeddings import from_fp16, to_fp16
from schemas.errors import EncoderFailed, ImageRefused, ImageSourceUnavailable, InvalidRecord
from schemas.events import Picture
from schemas.hashing import content_hash
from schemas.index_log import VIEWS_MAX
from schemas.metrics import Metrics
from streams.cache import CachedFrame, CachedView, EmbeddingCache
from streams.encoding import EncodingQueue
from streams.room import Room, Share
from topics.store import ObjectStore, original_key
from topics.thumbnails import put_thumbnails

FIRST_FETCH_S = 1.0
FETCHED_MAX = 1_024
FETCHED_BYTES_MAX = 256 * 1024 * 1024
EXPECTED_BYTES = 128 * 1024
"""Room taken for a picture before anything is known of it; FETCHED_MAX of these leave half for larger ones."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Obtained:
    """What became of a record's views: usable ones in order, those never usable, those not there yet.

    ``left_out``: how many frames of videos were beyond VIEWS_MAX.
    """

    ready: tuple[ReadyView, ...]
    refused: tuple[InvalidRecord, ...]
    missing: tuple[ImageSourceUnavailable, ...]
    left_out: int = 0


_Outcome: TypeAlias = ReadyView | InvalidRecord | ImageSourceUnavailable


class ViewMaker:
    """Makes views ready. ``pool`` None: this lane takes vectors only, and pictures are refused.

    Args:
        urgent: its pictures and texts go past all that wait for the model.
        gate: which pictures are refused although they can be read.
        frames_max: key frames of one video.
    """

    def __init__(
        self,
        source: PictureSource,
        pool: DecoderPool | None,
        queue: EncodingQueue,
        cache: EmbeddingCache,
        store: ObjectStore,
        metrics: Metrics,
        *,
        decoding_max: int,
        urgent: bool = False,
        gate: Gate = Gate(),  # noqa: B008  # it lets everything pass
        frames_max: int = 4,
    ) -> None:
        self._source, self._pool, self._queue = source, pool, queue
        self._cache, self._store, self._metrics = cache, store, metrics
        self._urgent, self._gate, self._frames_max = urgent, gate, frames_max
        # Decoded pictures wait for the model here rather than in memory without bound.
        self._decoding = asyncio.Semaphore(decoding_max)
        self._decoding_videos = asyncio.Semaphore(decoding_max)
        self._fetched = Room(FETCHED_MAX, FETCHED_BYTES_MAX)
        # Apart, for they wait long for a decoder, and pictures would wait for their room.
        self._fetched_videos = Room(FETCHED_MAX, FETCHED_BYTES_MAX // 4)

    async def obtain(self, tenant: str, planned: Sequence[PlannedView], *, timeout_s: float) -> Obtained:
        """Make every view that can be made ready now; a view that fails costs the others nothing.

        Raises:
            OSError: the store cannot be written. Try again.
        """
        await self._gate.refresh()
        made = await _all(*(self._made(tenant, view, timeout_s) for view in planned))
        outcomes: list[_Outcome] = []
        for outcome in made:
            if isinstance(outcome, tuple):
                outcomes += outcome
            elif isinstance(outcome, InvalidRecord | ImageSourceUnavailable):
                outcomes.append(outcome)
            else:
                raise outcome
        ready = [outcome for outcome in outcomes if isinstance(outcome, ReadyView)]
        refused = tuple(outcome for outcome in outcomes if isinstance(outcome, InvalidRecord))
        for error in refused:
            self._metrics.count("freshlens_views_refused_total", code=error.code)
        missing = tuple(outcome for outcome in outcomes if isinstance(outcome, ImageSourceUnavailable))
        return Obtained(tuple(ready[:VIEWS_MAX]), refused, missing, max(0, len(ready) - VIEWS_MAX))

    def known_text_vector(self, text: str) -> bytes | None:
        """The vector of a text that was encoded before; None if it was not."""
        known = self._cache.view(_text_digest(text), asks_again=True)
        return None if known is None else known.vector

    async def text_vector(self, text: str) -> bytes | None:
        """The vector of a text that is to be compared; None where the model fails on it."""
        try:
            return (await self._text(text)).vector
        except EncoderFailed:
            return None

    async def _made(self, tenant: str, view: PlannedView, timeout_s: float) -> tuple[_Outcome, ...]:
        if isinstance(view, VideoView):
            return await self._video(tenant, view, timeout_s)
        return (await self._one(tenant, view, timeout_s),)

    async def _one(self, tenant: str, view: PictureView | TextView | VectorView, timeout_s: float) -> ReadyView:
        if isinstance(view, VectorView):
            return ReadyView("vector", view.vector, view.vector)
        if isinstance(view, TextView):
            return await self._text(view.text)
        return await self._picture(tenant, view, timeout_s)

    async def _text(self, text: str) -> ReadyView:
        digest = _text_digest(text)
        known = self._cache.view(digest)
        if known is None:
            vector = await self._queue.encode_text(text, urgent=self._urgent)
            known = CachedView(to_fp16(vector), b"")
            self._cache.keep_view(digest, known)
        return ReadyView("text", text.encode(), known.vector)

    async def _picture(self, tenant: str, view: PictureView, timeout_s: float) -> ReadyView:
        picture, pool = view.picture, self._decoders()
        async with self._bytes(tenant, picture, timeout_s, self._cache.has_view, self._fetched) as (digest, raw):
            known = self._cache.view(digest)
            if known is None or not self._cache.has_thumbnails(tenant, digest):
                if raw is None:
                    raise ImageSourceUnavailable(f"{picture.uri}: not there, and not known to this tenant")
                known = await self._embedded(tenant, digest, raw, known, pool)
        self._check(tenant, known)
        return ReadyView("image", digest, known.vector, digest, known.phash, picture.uri, flags=known.flags)

    async def _video(self, tenant: str, video: VideoView, timeout_s: float) -> tuple[_Outcome, ...]:
        """The frames of a video that are fit to be views, and what the others were refused for."""
        pool = self._decoders()
        picture, room = Picture(uri=video.uri), self._fetched_videos
        async with self._bytes(tenant, picture, timeout_s, self._has_frames, room) as (digest, raw):
            known = self._cache.frames(digest, self._frames_max)
            if known is None or not self._cache.has_thumbnails(tenant, digest):
                if raw is None:
                    raise ImageSourceUnavailable(f"{video.uri}: not there, and not known to this tenant")
                known = await self._embedded_frames(tenant, digest, raw, pool)
        return tuple(self._frame(tenant, video, digest, number, frame) for number, frame in enumerate(known))

    def _frame(self, tenant: str, video: VideoView, digest: bytes, number: int, frame: CachedFrame) -> _Outcome:
        view = frame.view
        try:
            self._check(tenant, view)
        except InvalidRecord as error:
            return error
        return ReadyView(
            "frame",
            digest,
            view.vector,
            frame.content_hash,
            view.phash,
            video.uri,
            number,
            frame.timestamp_ms,
            view.flags,
        )

    def _decoders(self) -> DecoderPool:
        if self._pool is None:
            raise ImageRefused("this lane has no encoder (FRESHLENS_ENCODER=none:…): send vectors instead of pictures")
        return self._pool

    def _has_frames(self, digest: bytes) -> bool:
        return self._cache.frames(digest, self._frames_max) is not None

    def _check(self, tenant: str, view: CachedView) -> None:
        """Do nothing if a picture, seen before or not, may be a view; raises PictureBlocked, PictureRejected."""
        self._gate.check(tenant, view.flags, view.phash)
        if self._gate.scores_vectors:
            self._gate.check_vector(from_fp16(view.vector, len(view.vector) // 2))

    @asynccontextmanager
    async def _bytes(
        self, tenant: str, picture: Picture, timeout_s: float, has: Callable[[bytes], bool], room: Room
    ) -> AsyncIterator[tuple[bytes, bytes | None]]:
        """Content hash and bytes; no bytes where the picture is known and unchanged, or known and its source away."""
        if picture.inline is not None:
            yield content_hash(picture.inline), picture.inline
            return
        assert picture.uri is not None, "checked when the event was read"
        known, share = self._known(tenant, picture.uri, has), Share(room)
        try:
            try:
                fetched = await self._fetch(picture.uri, timeout_s, known, share)
            except ImageSourceUnavailable:
                if known is None:
                    raise
                fetched = Fetched(None, known)
            share.settle(len(fetched.raw or b""))
            yield fetched.validators.content_hash, fetched.raw
        finally:
            share.give_back()
        # Only now: an address that leads to no picture for once is no reason to forget the one it led to.
        if fetched.validators != known:
            self._cache.keep_content_of(picture.uri, fetched.validators)

    async def _fetch(self, uri: str, timeout_s: float, known: Validators | None, share: Share) -> Fetched:
        """Fetch with room for all that comes; what turns out too large for what is left comes again when there is."""
        size = EXPECTED_BYTES
        while True:
            # Waiting here is waiting for the model, so it is not part of the time that the host has.
            await share.take(size)
            try:
                return await self._source.fetch(uri, timeout_s=timeout_s, known=known, has_room=share.has_room)
            except NoRoom as error:
                size = error.size

    def _known(self, tenant: str, uri: str, has: Callable[[bytes], bool]) -> Validators | None:
        """What this address led to before, if that needs no bytes now."""
        known = self._cache.content_of(uri)
        if known is None or not has(known.content_hash):
            return None
        return known if self._cache.has_thumbnails(tenant, known.content_hash) else None

    async def _embedded(
        self, tenant: str, digest: bytes, raw: bytes, known: CachedView | None, pool: DecoderPool
    ) -> CachedView:
        async with self._decoding:
            started = perf_counter()
            with self._queue.coming():
                decoded = await pool.decode(raw, thumbnail_sizes=THUMBNAIL_SIZES)
            seconds = perf_counter() - started
            self._metrics.observe("freshlens_decode_seconds", seconds)
            self._metrics.observe("freshlens_ingest_stage_seconds", seconds, stage="decode")
            self._looked_at(decoded)
            self._gate.check(tenant, decoded.quality.flags, decoded.phash)
            storing = asyncio.ensure_future(asyncio.to_thread(self._keep, tenant, digest, raw, decoded))
            try:
                if known is None:
                    vector = await self._queue.encode_image(decoded.pixels, urgent=self._urgent)
                    known = CachedView(to_fp16(vector), decoded.phash, decoded.quality.flags)
            finally:
                await storing
        self._cache.keep_view(digest, known)
        self._cache.keep_thumbnails(tenant, digest)
        return known

    async def _embedded_frames(
        self, tenant: str, digest: bytes, raw: bytes, pool: DecoderPool
    ) -> tuple[CachedFrame, ...]:
        async with self._decoding_videos:
            frames = await pool.key_frames(raw, frames_max=self._frames_max, thumbnail_sizes=THUMBNAIL_SIZES)
            known = tuple(await asyncio.gather(*(self._embedded_frame(tenant, frame) for frame in frames)))
        self._cache.keep_frames(digest, self._frames_max, known)
        self._cache.keep_thumbnails(tenant, digest)
        return known

    async def _embedded_frame(self, tenant: str, frame: KeyFrame) -> CachedFrame:
        decoded, digest = frame.decoded, content_hash(frame.jpeg)
        self._looked_at(decoded)
        vector = await self._queue.encode_image(decoded.pixels, urgent=self._urgent)
        await asyncio.to_thread(self._keep, tenant, digest, frame.jpeg, decoded)
        view = CachedView(to_fp16(vector), decoded.phash, decoded.quality.flags)
        return CachedFrame(digest, frame.timestamp_ms, view)

    def _looked_at(self, decoded: Decoded) -> None:
        for flag in decoded.quality.flags:
            self._metrics.count("freshlens_picture_flags_total", flag=flag)

    def _keep(self, tenant: str, digest: bytes, raw: bytes, decoded: Decoded) -> None:
        name, started = digest.hex(), perf_counter()
        if not self._store.exists(original_key(name)):
            self._store.put(original_key(name), raw)
        put_thumbnails(self._store, tenant, name, decoded.thumbnails)
        self._metrics.observe("freshlens_ingest_stage_seconds", perf_counter() - started, stage="store")


async def _all(*making: Awaitable[tuple[_Outcome, ...]]) -> list[tuple[_Outcome, ...] | BaseException]:
    """What each gives or raises. One alone gets no task of its own, which would cost more than a known view does."""
    if len(making) != 1:
        return await asyncio.gather(*making, return_exceptions=True)
    try:
        return [await making[0]]
    except Exception as error:
        return [error]


def _text_digest(text: str) -> bytes:
    # No picture begins like this, so none has the view of a text.
    return content_hash(b"text:" + text.encode())
