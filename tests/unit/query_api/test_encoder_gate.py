"""A query picture that is on the block list, or that the safety scorer refuses, is not searched with."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from processors.encoders.encoder import PictureForm
from processors.pictures.blocklist import BlockEntry, BlockList, BlockListStore, hashes_of
from processors.pictures.decode import Crop, Decoded, decode
from processors.pictures.quality_gate import Gate
from processors.pictures.safety import SafetyScorer, SensitiveTerms
from query_api.encoder.service import EncoderService
from query_api.encoder.wire import EncodeRequest
from query_api.settings import EncoderServiceSettings
from schemas.errors import PictureBlocked, PictureRejected, QueryAbstained, SettingsError
from schemas.metrics import NullMetrics
from tests import hostile, videos
from tests.unit.query_api.doubles import vector_of
from tests.unit.query_api.test_encoder_service import StubEncoder
from topics.store import FileStore

PHOTO = hostile.saved(Image.fromarray(videos.scene(1, 200, 200)), "JPEG")


class DecodingHere:
    async def decode(self, raw: bytes, *, crop: Crop | None = None, thumbnail_sizes: Sequence[int] = ()) -> Decoded:
        return decode(raw, PictureForm(2), crop=crop, thumbnail_sizes=thumbnail_sizes)


def service_with(gate: Gate) -> EncoderService:
    return EncoderService(StubEncoder(), DecodingHere(), NullMetrics(), gate=gate)


async def test_a_blocked_picture_is_refused_even_from_the_cache_and_within_a_crop(tmp_path: Path) -> None:
    entries, clock = BlockListStore(FileStore(tmp_path)), [0.0]
    service = service_with(Gate(blocked=BlockList(FileStore(tmp_path), bits=4, now=lambda: clock[0])))
    request = EncodeRequest(image=PHOTO, tenant="shop")
    try:
        await service.encode(request)
        hashes = hashes_of(PHOTO)
        entries.add(BlockEntry(hashes[0], "shop", hashes, 1, "me"))
        clock[0] = 100.0
        with pytest.raises(PictureBlocked):
            await service.encode(request)
        with pytest.raises(PictureBlocked):
            await service.encode(EncodeRequest(image=PHOTO, crop=(0, 0, 0.4, 0.4), tenant="shop"))
        await service.encode(EncodeRequest(image=PHOTO, tenant="other"))
    finally:
        service.close()


async def test_a_picture_that_scores_too_high_is_refused() -> None:
    shown = decode(PHOTO, PictureForm(2)).pixels
    weights = vector_of(str(int(shown[0, 0, 0]))) * 100
    service = service_with(Gate(scorer=SafetyScorer(weights, 0.0, 0.9)))
    try:
        with pytest.raises(PictureRejected, match="safety score"):
            await service.encode(EncodeRequest(image=PHOTO))
        await service.encode(EncodeRequest(text="mug"))
    finally:
        service.close()


async def test_a_poor_photo_is_searched_with_and_its_flags_are_told() -> None:
    service = service_with(Gate(frozenset({"blank"})))
    try:
        grey = hostile.saved(Image.new("RGB", (100, 100), "grey"), "PNG")
        assert "blank" in (await service.encode(EncodeRequest(image=grey))).flags
    finally:
        service.close()


async def test_a_text_that_the_policy_abstains_from_is_not_encoded() -> None:
    service = service_with(Gate(policy=SensitiveTerms(["knife"])))
    try:
        with pytest.raises(QueryAbstained):
            await service.encode(EncodeRequest(image=PHOTO, text="a knife"))
        await service.encode(EncodeRequest(image=PHOTO, text="a spoon"))
    finally:
        service.close()


def test_settings(tmp_path: Path) -> None:
    assert EncoderServiceSettings.from_env({}).store_url == ""
    settings = EncoderServiceSettings.from_env({"FRESHLENS_DATA": str(tmp_path), "FRESHLENS_BLOCKLIST_BITS": "2"})
    assert settings.store_url == (tmp_path / "store").as_uri()
    assert settings.gate.blocklist_bits == 2
    with pytest.raises(SettingsError, match="FRESHLENS_GATE_REJECT"):
        EncoderServiceSettings.from_env({"FRESHLENS_GATE_REJECT": "ugly"})
