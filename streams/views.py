"""From a planned view to a vector: fetch, hash, cache, decode, store, encode."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import structlog

from processors.added import PictureView, PlannedView, ReadyView, TextView, VectorView
from processors.decode import THUMBNAIL_SIZES, Decoded
from processors.decoder_pool import DecoderPool
from processors.fetching import PictureSource
from schemas.embeddings import to_fp16
from schemas.errors import ImageRefused, ImageSourceUnavailable, InvalidRecord
from schemas.events import Picture
from schemas.hashing import content_hash
from schemas.metrics import Metrics
from streams.cache import CachedView, EmbeddingCache
from streams.encoding import EncodingQueue
from topics.store import ObjectStore, original_key, thumbnail_key

FIRST_FETCH_S = 1.0
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Obtained:
    """What became of a record's views: usable ones in order, those never usable, those not there yet."""

    ready: tuple[ReadyView, ...]
    refused: tuple[InvalidRecord, ...]
    missing: tuple[ImageSourceUnavailable, ...]


class ViewMaker:
    """Makes views ready. ``pool`` None: this lane takes vectors only, and pictures are refused."""

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
    ) -> None:
        self._source, self._pool, self._queue = source, pool, queue
        self._cache, self._store, self._metrics = cache, store, metrics
        # Decoded pictures wait for the model here rather than in memory without bound.
        self._decoding = asyncio.Semaphore(decoding_max)

    async def obtain(self, tenant: str, planned: Sequence[PlannedView], *, timeout_s: float) -> Obtained:
        """Make every view that can be made ready now; a view that fails costs the others nothing.

        Raises:
            OSError: the store cannot be written. Try again.
        """
        made = await asyncio.gather(*(self._made(tenant, view, timeout_s) for view in planned), return_exceptions=True)
        for outcome in made:
            if isinstance(outcome, BaseException) and not isinstance(outcome, InvalidRecord | ImageSourceUnavailable):
                raise outcome
        return Obtained(
            tuple(outcome for outcome in made if isinstance(outcome, ReadyView)),
            tuple(outcome for outcome in made if isinstance(outcome, InvalidRecord)),
            tuple(outcome for outcome in made if isinstance(outcome, ImageSourceUnavailable)),
        )

    async def _made(self, tenant: str, view: PlannedView, timeout_s: float) -> ReadyView:
        if isinstance(view, VectorView):
            return ReadyView("vector", view.vector, view.vector)
        if isinstance(view, TextView):
            vector = await self._queue.encode_text(view.text)
            return ReadyView("text", view.text.encode(), to_fp16(vector))
        return await self._picture(tenant, view, timeout_s)

    async def _picture(self, tenant: str, view: PictureView, timeout_s: float) -> ReadyView:
        if self._pool is None:
            raise ImageRefused("this lane has no encoder (FRESHLENS_ENCODER=none:…): send vectors instead of pictures")
        picture = view.picture
        digest, raw = await self._bytes(picture, timeout_s)
        known = self._cache.view(digest)
        if known is None or not self._cache.has_thumbnails(tenant, digest):
            if raw is None:
                raise ImageSourceUnavailable(f"{picture.uri}: not there, and not known to this tenant")
            known = await self._embedded(tenant, digest, raw, known, self._pool)
        if picture.uri is not None:
            self._cache.keep_content_of(picture.uri, digest)
        return ReadyView("image", digest, known.vector, digest, known.phash, picture.uri)

    async def _bytes(self, picture: Picture, timeout_s: float) -> tuple[bytes, bytes | None]:
        """Content hash and bytes; no bytes where the source is away and its picture is known from before."""
        if picture.inline is not None:
            return content_hash(picture.inline), picture.inline
        assert picture.uri is not None, "checked when the event was read"
        try:
            raw = await self._source.fetch(picture.uri, timeout_s=timeout_s)
        except ImageSourceUnavailable:
            known = self._cache.content_of(picture.uri)
            if known is None:
                raise
            return known, None
        return content_hash(raw), raw

    async def _embedded(
        self, tenant: str, digest: bytes, raw: bytes, known: CachedView | None, pool: DecoderPool
    ) -> CachedView:
        async with self._decoding:
            started = perf_counter()
            decoded = await pool.decode(raw, thumbnail_sizes=THUMBNAIL_SIZES)
            self._metrics.observe("freshlens_decode_seconds", perf_counter() - started)
            storing = asyncio.ensure_future(asyncio.to_thread(self._keep, tenant, digest, raw, decoded))
            try:
                if known is None:
                    vector = await self._queue.encode_image(decoded.pixels)
                    known = CachedView(to_fp16(vector), decoded.phash)
            finally:
                await storing
        self._cache.keep_view(digest, known)
        self._cache.keep_thumbnails(tenant, digest)
        return known

    def _keep(self, tenant: str, digest: bytes, raw: bytes, decoded: Decoded) -> None:
        name = digest.hex()
        if not self._store.exists(original_key(name)):
            self._store.put(original_key(name), raw)
        for size, thumbnail in decoded.thumbnails.items():
            self._store.put(thumbnail_key(tenant, name, size), thumbnail)
