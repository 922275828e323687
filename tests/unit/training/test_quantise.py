"""A trunk in eight bits is served where it belongs to the weights and agrees with them, and nowhere else."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import open_clip
import pytest
from numpy.typing import NDArray
from safetensors.torch import save_file

from freshlens.catalogue import draw, product
from processors import bundled
from processors.encoders import onnx_images
from processors.encoders.onnx_images import QUANTISED
from processors.encoders.open_clip_encoder import OpenClipEncoder, load_encoder
from training.quantise import shifted, write_quantised

SIDE = 160


def pictures(count: int, seed: int) -> NDArray[np.uint8]:
    return np.stack([np.asarray(draw(product(number, seed), SIDE)) for number in range(count)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model, its trunk rounded anew."""
    made = copied(bundled.FOLDER, tmp_path_factory.mktemp("models") / "model")
    assert write_quantised(made, pictures(40, seed=2)) > 0.99
    return made


def loaded(folder: Path) -> OpenClipEncoder:
    encoder = load_encoder(str(folder), device="cpu")
    assert isinstance(encoder, OpenClipEncoder)
    return encoder


def test_eight_bits_say_nearly_the_same(folder: Path, tmp_path: Path) -> None:
    exact, without = copied(folder, tmp_path / "exact"), copied(folder, tmp_path / "without")
    (exact / QUANTISED).write_bytes(shifted((folder / QUANTISED).read_bytes()))  # which no processor overflows with
    (without / QUANTISED).unlink()
    served, plain = loaded(exact), loaded(without)
    assert (served.precision, plain.precision) == ("int8 in ONNX Runtime", "float32 in ONNX Runtime")
    asked = pictures(24, seed=3)
    assert (served.encode_images(asked) * plain.encode_images(asked)).sum(axis=1).min() > 0.99


def test_a_trunk_that_says_something_else_is_not_written(folder: Path, tmp_path: Path) -> None:
    dark_only = pictures(20, seed=2) // 16
    with pytest.raises(ValueError, match="eight bits agree"):
        write_quantised(copied(folder, tmp_path / "dark"), np.concatenate([pictures(1, seed=4), dark_only]))


def test_a_trunk_of_other_weights_is_not_served(folder: Path, tmp_path: Path) -> None:
    other = copied(folder, tmp_path / "other")
    weights = open_clip.create_model_and_transforms(f"local-dir:{other}")[0].state_dict()
    weights["visual.head.proj.weight"] += 0.01
    save_file(weights, other / "open_clip_model.safetensors")
    assert loaded(other).precision == "float32 in ONNX Runtime"


@pytest.mark.parametrize(("cosine", "said"), [(0.9999, "int8 in ONNX Runtime"), (0.95, "float32 in ONNX Runtime")])
def test_eight_bits_are_served_where_the_processor_gives_the_known_answers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cosine: float, said: str
) -> None:
    plain = loaded(folder)
    monkeypatch.setattr(onnx_images, "agreement", lambda _images, _side: cosine)
    served = loaded(folder)
    assert served.precision == said
    assert (served.encoder_id, served.space) == (plain.encoder_id, plain.space)


def test_shifted_weights_say_the_same_and_do_not_overflow() -> None:
    graph = shifted((bundled.FOLDER / QUANTISED).read_bytes())
    kinds = {tensor.data_type for tensor in onnx.load_from_string(graph).graph.initializer}
    assert onnx.TensorProto.INT8 not in kinds
    assert onnx_images.agreement(onnx_images.OnnxImages(graph, 1), SIDE) > 0.9999


def test_a_trunk_that_answers_otherwise_than_when_it_was_written_is_not_served(folder: Path, tmp_path: Path) -> None:
    changed = copied(folder, tmp_path / "changed")
    graph = onnx.load(changed / QUANTISED)
    eights = (each for each in graph.graph.initializer if each.data_type == onnx.TensorProto.INT8)
    convolution = max(eights, key=lambda each: len(each.raw_data))
    weights = onnx.numpy_helper.to_array(convolution)
    convolution.CopyFrom(onnx.numpy_helper.from_array(np.minimum(weights, 20), convolution.name))
    onnx.save(graph, changed / QUANTISED)
    assert loaded(changed).precision == "float32 in ONNX Runtime"


def test_a_damaged_trunk_is_not_served(folder: Path, tmp_path: Path) -> None:
    damaged = copied(folder, tmp_path / "damaged")
    (damaged / QUANTISED).write_bytes(b"not a graph")
    assert loaded(damaged).precision == "float32 in ONNX Runtime"


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.glob("*.*"):
        shutil.copy(path, to)
    return to
