"""The query encoder, a process of its own: torch, and nothing of FAISS. Decoding in children, the model in a thread."""

import asyncio
import io
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from time import perf_counter
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
import structlog
import uvloop
from aiohttp import web
from PIL import Image

from processors.encoders import kept_model
from processors.encoders.encoder import Encoder, Pixels
from processors.encoders.open_clip_encoder import load_encoder
from processors.pictures.decode import Crop, Decoded
from processors.pictures.decoder_pool import DecoderPool
from processors.pictures.quality_gate import Gate, open_gate
from query_api.encoder.micro_batches import MicroBatches
from query_api.encoder.wire import (
    EncodeAnswer,
    EncodeProblem,
    EncodeRequest,
    EncoderHealth,
    RegionsAnswer,
    RegionsRequest,
)
from query_api.problems import status_of
from query_api.query.picture_gate import NOISE, is_noise
from query_api.serving import runner_of, serve_app, until_stopped
from query_api.settings import EncoderServiceSettings
from schemas.embeddings import Vector
from schemas.errors import FreshlensError, InvalidQuery
from schemas.hashing import content_hash
from schemas.metrics import Metrics
from topics.store import open_store

log = structlog.get_logger()

_OVERHEAD_BYTES = 64 * 1024
_MEDIA_TYPE = "application/msgpack"
_REGIONS_SIDE = 256
"""Objects are looked for in a thumbnail of this size, which our own decoder made of whatever came."""
_requests = msgspec.msgpack.Decoder(EncodeRequest)
_regions_requests = msgspec.msgpack.Decoder(RegionsRequest)


class Decoder(Protocol):
    """What the service asks of a DecoderPool."""

    async def decode(self, raw: bytes, *, crop: Crop | None = None, thumbnail_sizes: Sequence[int] = ()) -> Decoded: ...


class Known(NamedTuple):
    """What the cache remembers of a picture or text.

    ``flags``: what is wrong with the picture; ``hashes``: perceptual ones, of the part asked about and of the whole.
    """

    vector: Vector
    flags: tuple[str, ...] = ()
    hashes: tuple[bytes, ...] = ()


class EncoderService:
    """Encodes queries: each picture and text once, as long as the cache remembers it."""

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        metrics: Metrics,
        *,
        batch_max: int = 16,
        cache_max: int = 10_000,
        gate: Gate = Gate(),  # noqa: B008  # it lets everything pass
    ) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._metrics = metrics
        self._cache_max = cache_max
        self._gate = gate
        self._cache: OrderedDict[bytes, Known] = OrderedDict()
        # One thread: the model uses the processor fully, and two calls at once would only share it.
        self._thread = ThreadPoolExecutor(1, "encoder")
        self._pictures = MicroBatches(self._encode_pictures, self._thread, batch_max)
        self._texts = MicroBatches(self._encode_texts, self._thread, batch_max)

    async def encode(self, request: EncodeRequest) -> EncodeAnswer:
        """The vectors of a request.

        Raises:
            InvalidRecord: no picture, too large, refused (``picture-blocked``, ``picture-rejected``), or the model
                failed on it.
            InvalidQuery: an empty request.
        """
        if request.image is None and request.text is None:
            raise InvalidQuery("neither picture nor text")
        started = perf_counter()
        (image, decode_s), text = await asyncio.gather(self._picture(request), self._text(request.text))
        known = [entry for entry, is_new in (image, text) if entry is not None and not is_new]
        given = (request.image is not None) + (request.text is not None)
        return EncodeAnswer(
            image=_raw(image[0]),
            text=_raw(text[0]),
            decode_ms=round(decode_s * 1000, 3),
            encode_ms=round((perf_counter() - started - decode_s) * 1000, 3),
            cached=len(known) == given,
            flags=image[0].flags if image[0] is not None else (),
        )

    async def regions(self, request: RegionsRequest) -> RegionsAnswer:
        """Where objects may be; raises InvalidRecord as :meth:`encode`."""
        decoded = await self._decoder.decode(request.image, thumbnail_sizes=(_REGIONS_SIDE,))
        loop = asyncio.get_running_loop()
        return RegionsAnswer(boxes=await loop.run_in_executor(None, _boxes, decoded.thumbnails[_REGIONS_SIDE]))

    def health(self) -> EncoderHealth:
        """What is served here."""
        return EncoderHealth(str(self._encoder.space), self._encoder.encoder_id)

    async def warm(self) -> None:
        """Run the model once, so that the first query does not pay for it."""
        size = self._encoder.form.size
        await self._pictures.encode(np.zeros((size, size, 3), np.uint8))
        await self._texts.encode("warm")

    def close(self) -> None:
        """End the model's thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _picture(self, request: EncodeRequest) -> tuple[tuple[Known | None, bool], float]:
        if request.image is None:
            return (None, False), 0.0
        key = b"image" + content_hash(request.image) + msgspec.msgpack.encode(request.crop)
        await self._gate.refresh()
        if (known := self._known(key)) is not None:
            self._gate.check(request.tenant, (), *known.hashes)
            return (known, False), 0.0
        started = perf_counter()
        crop = None if request.crop is None else Crop(*request.crop)
        decoded = await self._decoder.decode(request.image, crop=crop)
        decode_s = perf_counter() - started
        flags = (*decoded.quality.flags, *([NOISE] if is_noise(decoded.pixels) else []))
        # Refused for its looks alone: what a shopper's photo lacks in quality is told by its flags.
        hashes = (decoded.phash, decoded.whole_phash)
        self._gate.check(request.tenant, (), *hashes)
        vector = await self._pictures.encode(decoded.pixels)
        self._gate.check_vector(vector)
        return (self._keep(key, Known(vector, flags, hashes)), True), decode_s

    async def _text(self, text: str | None) -> tuple[Known | None, bool]:
        if text is None:
            return None, False
        self._gate.check_text(text)
        key = b"text" + content_hash(text.encode())
        if (known := self._known(key)) is not None:
            return known, False
        return self._keep(key, Known(await self._texts.encode(text))), True

    def _known(self, key: bytes) -> Known | None:
        known = self._cache.get(key)
        if known is not None:
            self._cache.move_to_end(key)
        self._metrics.count("freshlens_embedding_cache_total", result="miss" if known is None else "hit")
        return known

    def _keep(self, key: bytes, known: Known) -> Known:
        self._cache[key] = known
        if len(self._cache) > self._cache_max:
            self._cache.popitem(last=False)
        return known

    def _encode_pictures(self, pictures: Sequence[Pixels]) -> Vector:
        return self._timed("image", len(pictures), lambda: self._encoder.encode_images(np.stack(pictures)))

    def _encode_texts(self, texts: Sequence[str]) -> Vector:
        return self._timed("text", len(texts), lambda: self._encoder.encode_texts(texts))

    def _timed(self, kind: str, count: int, encode: Callable[[], Vector]) -> Vector:
        started = perf_counter()
        vectors = encode()
        self._metrics.observe("freshlens_encode_batch_seconds", perf_counter() - started)
        self._metrics.count("freshlens_encoded_items_total", count, kind=kind)
        return vectors


SERVICE = web.AppKey("service", EncoderService)


def create_encoder_app(service: EncoderService, *, body_bytes_max: int) -> web.Application:
    """The encoder's HTTP side: ``POST /encode``, ``POST /regions`` and ``GET /healthz``, MessagePack both ways."""
    app = web.Application(client_max_size=body_bytes_max + _OVERHEAD_BYTES)
    app[SERVICE] = service
    app.router.add_post("/encode", _encode)
    app.router.add_post("/regions", _regions)
    app.router.add_get("/healthz", _healthz)
    return app


def run(settings: EncoderServiceSettings, metrics: Metrics, on_ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT. ``on_ready`` is called once the model is loaded and warm.

    Raises:
        SettingsError: no such encoder, or ``port-in-use``.
    """
    encoder = load_encoder(settings.encoder, device=settings.device, kept_in=kept_model.user_cache())
    uvloop.run(until_stopped(_serve(settings, encoder, metrics, on_ready)))


async def _serve(
    settings: EncoderServiceSettings, encoder: Encoder, metrics: Metrics, on_ready: Callable[[], None]
) -> None:
    async with _opened(settings, encoder, metrics) as service:
        app = create_encoder_app(service, body_bytes_max=settings.body_bytes_max)
        await serve_app(runner_of(app), settings.host, settings.port, on_ready)


@asynccontextmanager
async def _opened(
    settings: EncoderServiceSettings, encoder: Encoder, metrics: Metrics
) -> AsyncIterator[EncoderService]:
    pool = DecoderPool(encoder.form, settings.decoders)
    service = EncoderService(
        encoder,
        pool,
        metrics,
        batch_max=settings.batch_max,
        cache_max=settings.cache_max,
        gate=_gate(settings, encoder),
    )
    try:
        await pool.warm()
        # A decoder's libraries load at its first real picture, which must not be a shopper's.
        await asyncio.gather(service.warm(), *(pool.decode(_plain_jpeg()) for _ in range(settings.decoders)))
        yield service
    finally:
        await asyncio.to_thread(pool.close)
        await asyncio.to_thread(service.close)


def _gate(settings: EncoderServiceSettings, encoder: Encoder) -> Gate:
    store = open_store(settings.store_url) if settings.store_url else None
    if store is None:
        log.warning("no block list for queries: neither FRESHLENS_STORE nor FRESHLENS_DATA is set")
    return open_gate(settings.gate, store, encoder.space)


async def _encode(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    return await _answered(request, lambda raw: service.encode(_requests.decode(raw)))


async def _regions(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    return await _answered(request, lambda raw: service.regions(_regions_requests.decode(raw)))


async def _answered(
    request: web.Request, work: Callable[[bytes], Coroutine[None, None, msgspec.Struct]]
) -> web.Response:
    try:
        return _packed(await work(await request.read()))
    except msgspec.DecodeError as error:
        return _packed(EncodeProblem("invalid-query", str(error)), 400)
    except FreshlensError as error:
        return _packed(EncodeProblem(error.code, error.message), status_of(error))
    except web.HTTPRequestEntityTooLarge:
        return _packed(EncodeProblem("upload-too-large", "the picture is larger than allowed"), 413)
    except Exception:
        log.exception("encoding failed")
        return _packed(EncodeProblem("internal", "the encoder has a fault; its log says more"), 500)


async def _healthz(request: web.Request) -> web.Response:
    return _packed(request.app[SERVICE].health())


def _packed(body: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.msgpack.encode(body), status=status, content_type=_MEDIA_TYPE)


def _plain_jpeg() -> bytes:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(picture, "JPEG")
    return picture.getvalue()


def _boxes(thumbnail: bytes) -> tuple[tuple[float, float, float, float], ...]:
    from processors.pictures.regions import (
        propose,  # OpenCV takes half a second to load, and few searches ask for regions
    )

    with Image.open(io.BytesIO(thumbnail)) as picture:
        found = propose(np.asarray(picture.convert("RGB")))
    return tuple((box.x, box.y, box.width, box.height) for box in found)


def _raw(known: Known | None) -> bytes | None:
    return None if known is None else known.vector.astype("<f4").tobytes()
