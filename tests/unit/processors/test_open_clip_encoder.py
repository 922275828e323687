"""Encoders by open_clip, on a tiny model with random weights: parity, spaces, refusals."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from freshlens.catalogue import draw, product
from processors import bundled
from processors.encoders import cores
from processors.encoders.open_clip_encoder import OpenClipEncoder, load_encoder, space_of
from processors.pictures.decode import decode
from schemas.embeddings import Space
from schemas.errors import EncoderFailed, SettingsError
from tests.unit.processors.small_model import write_model


@pytest.fixture(scope="module", params=["shortest", "squash", "longest"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as open_clip itself saves them."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, resize=request.param)
    return folder


def photo(width: int, height: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (9, 7, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def test_our_decoding_agrees_with_open_clips_own_transform(checkpoint: Path) -> None:
    encoder = load_encoder(str(checkpoint), threads=1)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{checkpoint}")
    raws = [photo(width, height, seed) for seed, (width, height) in enumerate([(90, 60), (333, 501), (1600, 1200)])]
    ours = encoder.encode_images(np.stack([decode(raw, encoder.form).pixels for raw in raws]))
    with torch.inference_mode():
        pictures = torch.stack([transform(Image.open(io.BytesIO(raw))) for raw in raws])
        theirs = torch.nn.functional.normalize(model.eval().encode_image(pictures)).numpy()
    assert (ours * theirs).sum(axis=1).min() >= 0.999


def test_vectors_have_unit_norm_and_do_not_depend_on_their_batch(checkpoint: Path) -> None:
    encoder = load_encoder(str(checkpoint), threads=1)
    size = encoder.form.size
    pictures = np.random.default_rng(0).integers(0, 255, (5, size, size, 3), dtype=np.uint8)
    together, texts = encoder.encode_images(pictures), encoder.encode_texts(["a red dress", "x" * 5000])
    alone = np.concatenate([encoder.encode_images(pictures[place : place + 1]) for place in range(5)])
    assert together.shape == (5, 32)
    assert texts.shape == (2, 32)
    assert np.allclose(np.linalg.norm(np.concatenate([together, texts]), axis=1), 1, atol=1e-5)
    assert (together * alone).sum(axis=1).min() >= 0.9999


def test_the_space_follows_the_weights_or_the_name_given(checkpoint: Path, tmp_path: Path) -> None:
    assert load_encoder(str(checkpoint), threads=1).space == space_of(str(checkpoint))
    config = json.loads((checkpoint / "open_clip_config.json").read_text())
    (tmp_path / "open_clip_config.json").write_text(json.dumps({**config, "space": "mine-2"}))
    assert space_of(str(tmp_path)) == Space("mine-2", 32)
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"other weights")
    assert space_of(str(tmp_path)).name.rpartition("-")[2] != space_of(str(checkpoint)).name.rpartition("-")[2]


def test_asking_for_a_space_imports_no_torch() -> None:
    program = (
        "import sys; from processors.encoders.open_clip_encoder import space_of;"
        "print(space_of('none:384'), space_of('bundled')); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("none:384 ")


def test_a_lane_of_vectors_encodes_nothing() -> None:
    encoder = load_encoder("none:384")
    assert encoder.space == Space("none", 384)
    with pytest.raises(EncoderFailed):
        encoder.encode_texts(["a"])
    with pytest.raises(EncoderFailed):
        encoder.encode_images(np.zeros((1, 8, 8, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", ["", "none:", "none:0", "no-such-folder", "NoSuchModel/tag", "/no/such"])
def test_what_is_no_encoder_is_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        load_encoder(name)


def test_a_model_that_raises_is_an_encoder_failure(checkpoint: Path) -> None:
    encoder = load_encoder(str(checkpoint), threads=1)
    assert isinstance(encoder, OpenClipEncoder)
    encoder._tokenizer = lambda texts: torch.full((len(texts), 16), 10**9)
    with pytest.raises(EncoderFailed):
        encoder.encode_texts(["a"])


def test_out_of_memory_is_told_apart_so_that_fewer_are_tried(checkpoint: Path) -> None:
    encoder = load_encoder(str(checkpoint), threads=1)
    assert isinstance(encoder, OpenClipEncoder)

    def full(_: torch.Tensor) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    encoder._images = full
    size = encoder.form.size
    with pytest.raises(MemoryError):
        encoder.encode_images(np.zeros((4, size, size, 3), dtype=np.uint8))


def test_padding_to_a_bucket_changes_no_vector(checkpoint: Path) -> None:
    encoder = load_encoder(str(checkpoint), threads=1)
    assert isinstance(encoder, OpenClipEncoder)
    assert not encoder._is_padded
    size = encoder.form.size
    pictures = np.random.default_rng(0).integers(0, 255, (5, size, size, 3), dtype=np.uint8)
    plain = encoder.encode_images(pictures)
    shapes, images = [], encoder._images
    encoder._images = lambda batch: shapes.append(len(batch)) or images(batch)
    encoder._is_padded = True
    padded = encoder.encode_images(pictures)
    assert shapes == [8]
    assert padded.shape == plain.shape
    assert (padded * plain).sum(axis=1).min() >= 0.999


def test_the_tokens_that_the_model_sees_are_counted(checkpoint: Path) -> None:
    encoder = load_encoder(str(checkpoint), threads=1)
    assert encoder.count_tokens("a red dress") == (5, 0)  # with the marks of beginning and end
    assert encoder.count_tokens("red " * 100) == (16, 86)


def test_the_bundled_model_says_the_same_made_quicker() -> None:
    """Eight bits, where ONNX Runtime runs them, and the projection in float32: cosine ≥ 0.99 for drawn products."""
    encoder = load_encoder("bundled", threads=1)
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{Path(bundled.__file__).parent}")
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (model.visual.image_mean, model.visual.image_std))
    pictures = np.stack([np.asarray(draw(product(number, 7), encoder.form.size)) for number in range(8)])
    given = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - mean) / std
    with torch.inference_mode():
        theirs = torch.nn.functional.normalize(model.eval().encode_image(given)).numpy()
    assert (encoder.encode_images(pictures) * theirs).sum(axis=1).min() >= 0.99
    assert (encoder.encode_images(pictures[:1]) * theirs[:1]).sum() >= 0.99


def test_threads_beside_decoders_follow_the_size_of_the_model() -> None:
    assert [cores.encoder_threads(2_000_000, count) for count in (1, 2, 16)] == [1, 1, 8]
    assert [cores.encoder_threads(86_000_000, count) for count in (1, 2, 16)] == [1, 2, 16]
    assert [cores.decoders(count) for count in (1, 2, 16)] == [1, 2, 16]


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:99", ""])
def test_a_device_that_is_not_here_is_refused_by_its_setting(device: str) -> None:
    with pytest.raises(SettingsError, match="FRESHLENS_ENCODER_DEVICE"):
        load_encoder("bundled", threads=1, device=device)
