"""The encoder process: micro-batches, cache, crop, failures; and the client that speaks to it."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image

from processors.encoders.encoder import PictureForm, Pixels
from processors.pictures.decode import Crop, Decoded, Quality
from query_api.encoder.client import NoEncoder, RemoteEncoder
from query_api.encoder.micro_batches import MicroBatches
from query_api.encoder.service import EncoderService, create_encoder_app
from query_api.encoder.wire import EncodeRequest, RegionsRequest
from query_api.serving import runner_of
from query_api.shards.remote import open_session
from schemas.embeddings import Space, Vector
from schemas.errors import EncoderFailed, EncoderUnavailable, ImageTooLarge, InvalidQuery, UndecodableImage
from schemas.metrics import NullMetrics, RecordingMetrics
from tests.unit.query_api.doubles import SPACE, vector_of


class StubEncoder:
    """Encodes a picture by its first pixel and a text by itself; waits at a gate, so that tests can let work gather."""

    space = SPACE
    encoder_id = "stub"
    form = PictureForm(2)

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def encode_images(self, pictures: Pixels) -> Vector:
        return self._rows([str(int(picture[0, 0, 0])) for picture in pictures])

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        return self._rows(texts)

    def _rows(self, names: Sequence[str]) -> Vector:
        self.gate.wait(5)
        self.batches.append(len(names))
        if "bad" in names:
            raise EncoderFailed("the model failed")
        return np.stack([vector_of(name) for name in names])


class StubDecoder:
    def __init__(self) -> None:
        self.asked: list[tuple[bytes, Crop | None]] = []

    async def decode(self, raw: bytes, *, crop: Crop | None = None, thumbnail_sizes: Sequence[int] = ()) -> Decoded:
        self.asked.append((raw, crop))
        if thumbnail_sizes:
            return Decoded(np.zeros((2, 2, 3), np.uint8), 2, 2, b"", _quality(), {256: jpeg_of_two()})
        if raw == b"0":
            pixels = np.zeros((2, 2, 3), np.uint8)
            return Decoded(pixels, 2, 2, b"", Quality(0.0, 0.0, 0.0, ("dark", "blank")))
        if raw == b"huge":
            raise ImageTooLarge("too large")
        if not raw.isdigit():
            raise UndecodableImage("not a picture", code="decoder-crashed")
        pixels = np.full((2, 2, 3), int(raw), np.uint8)
        return Decoded(pixels, 2, 2, b"", _quality())


def jpeg_of_two() -> bytes:
    """Two dark squares on white."""
    canvas = Image.new("RGB", (200, 100), "white")
    canvas.paste("#203040", (20, 20, 70, 70))
    canvas.paste("#702010", (120, 30, 180, 80))
    raw = io.BytesIO()
    canvas.save(raw, "JPEG")
    return raw.getvalue()


def _quality() -> Quality:
    return Quality(brightness=0.5, contrast=0.5, sharpness=1.0)


@pytest.fixture
def encoder() -> StubEncoder:
    return StubEncoder()


@pytest.fixture
def decoder() -> StubDecoder:
    return StubDecoder()


@pytest_asyncio.fixture
async def service(encoder: StubEncoder, decoder: StubDecoder) -> AsyncIterator[EncoderService]:
    running = EncoderService(encoder, decoder, RecordingMetrics(), batch_max=4, cache_max=3)
    yield running
    encoder.gate.set()
    running.close()


async def test_picture_and_text(service: EncoderService, decoder: StubDecoder) -> None:
    answer = await service.encode(EncodeRequest(image=b"7", text="mug", crop=(0.1, 0.2, 0.3, 0.4)))
    assert answer.image == vector_of("7").tobytes()
    assert answer.text == vector_of("mug").tobytes()
    assert not answer.cached
    assert decoder.asked == [(b"7", Crop(0.1, 0.2, 0.3, 0.4))]


async def test_each_picture_and_crop_is_encoded_once(
    service: EncoderService, encoder: StubEncoder, decoder: StubDecoder
) -> None:
    await service.encode(EncodeRequest(image=b"7"))
    again = await service.encode(EncodeRequest(image=b"7"))
    assert again.cached
    assert again.image == vector_of("7").tobytes()
    await service.encode(EncodeRequest(image=b"7", crop=(0, 0, 0.5, 0.5)))
    assert len(decoder.asked) == 2
    for text in "abcd":
        await service.encode(EncodeRequest(text=text))
    assert not (await service.encode(EncodeRequest(image=b"7"))).cached, "the least used is forgotten"


async def test_what_is_wrong_with_a_picture_is_remembered_with_it(service: EncoderService) -> None:
    for cached in (False, True):
        answer = await service.encode(EncodeRequest(image=b"0", text="mug"))
        assert (answer.flags, answer.cached) == (("dark", "blank"), cached)
    assert (await service.encode(EncodeRequest(text="mug"))).flags == ()
    assert (await service.encode(EncodeRequest(image=b"7"))).flags == ()


async def test_what_gathers_is_one_batch(service: EncoderService, encoder: StubEncoder) -> None:
    encoder.gate.clear()
    asking = [asyncio.create_task(service.encode(EncodeRequest(text=f"t{number}"))) for number in range(7)]
    await asyncio.sleep(0.05)
    encoder.gate.set()
    answers = await asyncio.gather(*asking)
    assert [answer.text for answer in answers] == [vector_of(f"t{number}").tobytes() for number in range(7)]
    assert sum(encoder.batches) == 7
    assert max(encoder.batches) == 4, "at most batch_max"
    assert len(encoder.batches) <= 3


async def test_a_bad_item_fails_alone(service: EncoderService, encoder: StubEncoder) -> None:
    encoder.gate.clear()
    asking = [
        asyncio.create_task(service.encode(EncodeRequest(text=text))) for text in ("first", "good", "bad", "fine")
    ]
    await asyncio.sleep(0.05)
    encoder.gate.set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert [isinstance(outcome, EncoderFailed) for outcome in outcomes] == [False, False, True, False]


async def test_who_gives_up_costs_nothing(encoder: StubEncoder) -> None:
    with ThreadPoolExecutor(1) as thread:
        batches: MicroBatches[str] = MicroBatches(encoder.encode_texts, thread, 4)
        encoder.gate.clear()
        first = asyncio.create_task(batches.encode("first"))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(batches.encode("second"))
        await asyncio.sleep(0)
        second.cancel()
        encoder.gate.set()
        await first
        await asyncio.sleep(0.02)
        assert encoder.batches == [1]
        assert (await batches.encode("third") == vector_of("third")).all()


async def test_an_empty_request(service: EncoderService) -> None:
    with pytest.raises(InvalidQuery):
        await service.encode(EncodeRequest())


class TestOverHttp:
    @pytest_asyncio.fixture
    async def server(self, service: EncoderService) -> AsyncIterator[TestServer]:
        async with TestServer(create_encoder_app(service, body_bytes_max=1_000)) as running:
            yield running

    async def asked(self, server: TestServer, request: EncodeRequest, space: Space = SPACE) -> bytes | None:
        async with open_session() as session:
            client = RemoteEncoder(session, str(server.make_url("")).rstrip("/"), space)
            answer = await client.encode(request, timeout_s=2)
            return answer.image or answer.text

    async def test_there_and_back(self, server: TestServer) -> None:
        assert await self.asked(server, EncodeRequest(text="mug")) == vector_of("mug").tobytes()

    @pytest.mark.parametrize(
        ("image", "error", "code"),
        [
            (b"huge", ImageTooLarge, "image-too-large"),
            (b"words", UndecodableImage, "decoder-crashed"),
        ],
    )
    async def test_refusals_keep_their_code(
        self, server: TestServer, image: bytes, error: type[Exception], code: str
    ) -> None:
        with pytest.raises(error) as raised:
            await self.asked(server, EncodeRequest(image=image))
        assert raised.value.code == code  # type: ignore[attr-defined]

    async def test_regions(self, server: TestServer) -> None:
        async with open_session() as session:
            remote = RemoteEncoder(session, str(server.make_url("")).rstrip("/"), SPACE)
            found = await remote.regions(RegionsRequest(image=b"9"), timeout_s=5)
        assert len(found.boxes) == 2
        assert {round(left, 1) for left, *_ in found.boxes} == {0.1, 0.6}

    async def test_another_space_is_no_encoder_of_ours(self, server: TestServer) -> None:
        with pytest.raises(EncoderUnavailable, match="space"):
            await self.asked(server, EncodeRequest(text="mug"), Space("other", 99))
        async with open_session() as session:
            url = str(server.make_url("")).rstrip("/")
            assert (await RemoteEncoder(session, url, SPACE).health()).encoder_id == "stub"
            with pytest.raises(EncoderUnavailable):
                await RemoteEncoder(session, url, Space("other", 16)).health()

    async def test_a_body_that_is_too_large(self, server: TestServer) -> None:
        with pytest.raises(Exception, match="larger"):
            await self.asked(server, EncodeRequest(image=b"1" * 200_000))

    @pytest.mark.parametrize("body", [b"", b"\xff", b"garbage" * 100])
    async def test_garbage(self, server: TestServer, body: bytes) -> None:
        async with open_session() as session, session.post(server.make_url("/encode"), data=body) as response:
            assert response.status == 400

    async def test_no_answer_in_time_or_at_all(self, server: TestServer, encoder: StubEncoder) -> None:
        encoder.gate.clear()
        async with open_session() as session:
            client = RemoteEncoder(session, str(server.make_url("")).rstrip("/"), SPACE)
            with pytest.raises(EncoderUnavailable):
                await client.encode(EncodeRequest(text="slow"), timeout_s=0.05)
            encoder.gate.set()
            gone = RemoteEncoder(session, "http://127.0.0.1:9", SPACE)
            with pytest.raises(EncoderUnavailable):
                await gone.health()

    async def test_an_answer_that_is_none(self) -> None:
        async def nonsense(_: web.Request) -> web.Response:
            return web.Response(body=b"what?")

        app = web.Application()
        app.router.add_post("/encode", nonsense)
        async with TestServer(app) as server:
            with pytest.raises(EncoderUnavailable):
                await self.asked(server, EncodeRequest(text="mug"))


async def test_a_lane_without_encoder_says_how_to_search() -> None:
    encoder = NoEncoder(SPACE)
    with pytest.raises(InvalidQuery, match="vector"):
        await encoder.encode(EncodeRequest(text="mug"), timeout_s=1)
    assert (await encoder.health()).encoder_id == "none"


def test_null_metrics_will_do() -> None:
    service = EncoderService(StubEncoder(), StubDecoder(), NullMetrics())
    assert service.health().space == "test:16"
    service.close()


async def test_the_work_of_callers_who_left_is_dropped(service: EncoderService, encoder: StubEncoder) -> None:
    encoder.gate.clear()
    runner = runner_of(create_encoder_app(service, body_bytes_max=1_000_000))  # as the process serves it
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with open_session() as session:
        client = RemoteEncoder(session, f"http://127.0.0.1:{runner.addresses[0][1]}", SPACE)
        leaving = [client.encode(EncodeRequest(text=f"t{number}"), timeout_s=0.1) for number in range(40)]
        assert all(isinstance(each, Exception) for each in await asyncio.gather(*leaving, return_exceptions=True))
        encoder.gate.set()
        await client.encode(EncodeRequest(text="honest"), timeout_s=5)
        assert sum(encoder.batches) <= 10, "two batches of four were in the model or on the way"
    await runner.cleanup()
