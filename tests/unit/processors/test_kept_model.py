"""A model that was loaded once is run from its graphs: the same answers without torch, and torch wherever in doubt."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from freshlens.catalogue import draw, product
from processors import bundled
from processors.encoders import kept_model, onnx_images, open_clip_encoder
from processors.encoders.encoder import Encoder
from processors.encoders.kept_model import KeptEncoder
from processors.encoders.onnx_images import QUANTISED
from processors.encoders.open_clip_encoder import OpenClipEncoder, load_encoder
from schemas.embeddings import Vector
from schemas.errors import EncoderFailed, SettingsError
from tests.unit.processors.small_model import write_model
from training.quantise import shifted

TEXTS = ["a red dress", "", "Größe 42, don't wash", "word " * 100]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model with random weights."""
    made = tmp_path / "model"
    made.mkdir()
    write_model(made, resize="longest")
    return made


@pytest.fixture
def load(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Encoder]:
    """Loads the model as a process does that keeps it, on a machine without a GPU."""
    monkeypatch.setattr(open_clip_encoder, "_GPU_DRIVERS", ())
    return lambda **given: load_encoder(str(given.pop("name", folder)), threads=1, kept_in=tmp_path / "kept", **given)


def said(encoder: Encoder) -> Vector:
    size = encoder.form.size
    pictures = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    pictures.flags.writeable = False  # as those from a decoder
    return np.concatenate([encoder.encode_images(pictures), encoder.encode_texts(TEXTS)])


def test_the_second_process_says_the_same(load: Callable[..., Encoder]) -> None:
    first, second = load(), load()
    assert isinstance(first, OpenClipEncoder)
    assert isinstance(second, KeptEncoder)
    assert (second.encoder_id, second.space, second.form) == (first.encoder_id, first.space, first.form)
    assert (second.precision, second.threads) == (first.precision, first.threads)
    assert said(second).dtype == np.float32
    assert np.allclose(said(second), said(first), atol=1e-5)
    assert [second.count_tokens(text) for text in TEXTS] == [first.count_tokens(text) for text in TEXTS]


def test_the_second_process_imports_no_torch(load: Callable[..., Encoder], folder: Path, tmp_path: Path) -> None:
    load()
    program = (
        "import sys; from pathlib import Path; from processors.encoders import open_clip_encoder as models;"
        "models._GPU_DRIVERS = ();"
        f"encoder = models.load_encoder({str(folder)!r}, kept_in=Path({str(tmp_path / 'kept')!r}));"
        "encoder.encode_texts(['a']); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_in_eight_bits_the_projection_behind_the_trunk_is_kept_too(
    load: Callable[..., Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = tmp_path / "exact"
    shutil.copytree(bundled.FOLDER, exact, ignore=shutil.ignore_patterns("__pycache__"))
    (exact / QUANTISED).write_bytes(shifted((exact / QUANTISED).read_bytes()))  # which no processor overflows with
    first, second = load(name=exact), load(name=exact)
    assert isinstance(second, KeptEncoder)
    assert second.precision == "int8 in ONNX Runtime"
    pictures = np.stack([np.asarray(draw(product(number, 7), first.form.size)) for number in range(4)])
    assert (first.encode_images(pictures) * second.encode_images(pictures)).sum(axis=1).min() > 0.9999
    monkeypatch.setattr(onnx_images, "agreement", lambda _images, _side: 0.9)
    monkeypatch.setattr(kept_model, "_processor", lambda: "one that overflows")
    other = load(name=exact)
    assert isinstance(other, OpenClipEncoder)
    assert other.precision == "float32 in ONNX Runtime"


def test_other_weights_are_another_model(load: Callable[..., Encoder], folder: Path) -> None:
    first = load()
    write_model(folder, resize="longest", seed=1)
    second = load()
    assert isinstance(second, OpenClipEncoder)
    assert second.encoder_id != first.encoder_id
    assert isinstance(load(), KeptEncoder)


def test_what_nobody_used_for_long_is_removed_when_another_is_kept(
    load: Callable[..., Encoder], folder: Path, tmp_path: Path
) -> None:
    load()
    (used,) = (tmp_path / "kept").iterdir()
    unused = tmp_path / "kept" / "of-an-earlier-version"
    unused.mkdir()
    for place in (used, unused):
        os.utime(place, (0, 0))
    assert isinstance(load(), KeptEncoder)
    write_model(folder, resize="longest", seed=1)
    load()
    assert used.exists()
    assert not unused.exists()


def test_a_tokenizer_that_cleans_otherwise_stays_open_clips(load: Callable[..., Encoder], folder: Path) -> None:
    write_model(folder, resize="longest", tokenizer={"clean": "canonicalize"})
    assert [type(load()) for _ in range(2)] == [OpenClipEncoder, OpenClipEncoder]


@pytest.mark.parametrize("name", ["facts.json", "images-0.onnx", "texts.onnx"])
def test_what_is_damaged_is_made_again(load: Callable[..., Encoder], tmp_path: Path, name: str) -> None:
    first = load()
    (place,) = (tmp_path / "kept").iterdir()
    whole = (place / name).read_bytes()
    (place / name).write_bytes(whole[: len(whole) // 2])
    assert isinstance(load(), OpenClipEncoder)
    again = load()
    assert isinstance(again, KeptEncoder)
    assert np.allclose(said(again), said(first), atol=1e-5)
    assert list((tmp_path / "kept").iterdir()) == [place]


def test_without_onnx_the_model_is_loaded_as_before(
    load: Callable[..., Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_model, "_MADE_BY", ("no-such-package",))
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    assert [type(load()) for _ in range(2)] == [OpenClipEncoder, OpenClipEncoder]


def test_without_room_for_it_the_model_is_loaded_as_before(load: Callable[..., Encoder], tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("not a folder")
    assert isinstance(load(), OpenClipEncoder)
    assert isinstance(load(), OpenClipEncoder)


def test_graphs_that_say_something_else_are_not_kept(
    load: Callable[..., Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_model, "_agreement", lambda _one, _other: 0.99)
    assert isinstance(load(), OpenClipEncoder)
    assert not (tmp_path / "kept").exists()


def test_where_there_may_be_a_gpu_torch_decides(
    load: Callable[..., Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load()
    monkeypatch.setattr(open_clip_encoder, "_GPU_DRIVERS", (tmp_path,))
    assert isinstance(load(), OpenClipEncoder)
    assert isinstance(load(device="cpu"), KeptEncoder)
    with pytest.raises(SettingsError, match="FRESHLENS_ENCODER_DEVICE"):
        load(device="cuda:99")


def test_what_the_runtime_refuses_is_an_encoder_failure(load: Callable[..., Encoder]) -> None:
    load()
    kept = load()
    assert isinstance(kept, KeptEncoder)
    kept._tokenizer = lambda texts: np.full((len(texts), 16), 10**9)  # type: ignore[assignment]
    with pytest.raises(EncoderFailed):
        kept.encode_texts(["a"])
