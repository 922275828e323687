"""Making a model quicker changes nothing of what it says, or is not done."""

import copy
import sys

import open_clip
import pytest
import torch
from timm.layers import ConvNormAct

from processors.encoders import precision

CPU = torch.device("cpu")


def test_norms_are_folded_into_the_convolutions_before_them() -> None:
    torch.manual_seed(0)
    block = ConvNormAct(3, 8, 3).eval()
    block.bn.running_mean.uniform_(-1, 1)
    block.bn.running_var.uniform_(0.5, 2)
    block.bn.weight.data.uniform_(0.5, 2)
    folded = torch.nn.Sequential(copy.deepcopy(block))
    precision.fold_norms(folded)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    given = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        assert torch.allclose(folded(given), block(given), atol=1e-5)


@pytest.mark.parametrize(("cosine", "dtype"), [(0.9991, torch.bfloat16), (0.9989, torch.float32)])
def test_bfloat16_is_taken_only_where_it_is_native_and_agrees(
    monkeypatch: pytest.MonkeyPatch, cosine: float, dtype: torch.dtype
) -> None:
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 2, "layers": 1}
    model = open_clip.CLIP(16, vision, text).eval()
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: False)
    monkeypatch.setattr(precision, "_in_onnx_runtime", lambda *_: None)
    assert precision.quicker(model, CPU, 32).precision == "float32"
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)
    monkeypatch.setattr(precision, "least_cosine", lambda *_: cosine)
    made = precision.quicker(model, CPU, 32)
    assert made.precision == str(dtype).removeprefix("torch.")
    assert next(made.model.parameters()).dtype is dtype
    assert made.images(torch.zeros(1, 3, 32, 32)).dtype is dtype


def test_the_least_cosine_is_of_what_executions_say_of_pictures() -> None:
    def says(*vector: float) -> precision.Images:
        return lambda pictures: torch.tensor(vector).expand(len(pictures), -1)

    assert precision.least_cosine(says(1.0, 0.0), says(1.0, 0.0), CPU, 32) == pytest.approx(1)
    assert precision.least_cosine(says(1.0, 0.0), says(0.6, 0.8), CPU, 32) == pytest.approx(0.6)


def depthwise(seed: int = 0) -> open_clip.CLIP:
    """A network whose norms stand beside convolutions of many names, with statistics that matter."""
    torch.manual_seed(seed)
    vision = {"timm_model_name": "efficientnet_lite0", "timm_pool": "avg", "timm_proj": "linear", "image_size": 64}
    text = {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 2, "layers": 1}
    model = open_clip.CLIP(16, vision, text).train()
    with torch.no_grad():
        model.encode_image(torch.randn(8, 3, 64, 64))
    return model.eval()


def test_norms_of_a_depthwise_network_are_folded_whatever_their_names() -> None:
    model = depthwise()
    folded = copy.deepcopy(model)
    precision.fold_norms(folded)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert precision.least_cosine(model.encode_image, folded.encode_image, CPU, 64) >= 0.9999


def test_a_network_that_declares_its_layers_in_another_order_than_it_runs_them_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = depthwise()

    def crooked(folded: torch.nn.Module) -> None:
        for bias in folded.visual.head.parameters():
            torch.nn.init.normal_(bias)

    monkeypatch.setattr(precision, "fold_norms", crooked)
    made = precision.quicker(model, CPU, 64)
    pictures = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        assert torch.nn.functional.cosine_similarity(made.images(pictures), model.encode_image(pictures)).min() > 0.999


def test_a_small_image_tower_runs_in_onnx_runtime_for_any_number_of_pictures_and_agrees() -> None:
    model = depthwise()
    reference = copy.deepcopy(model)
    made = precision.quicker(model, CPU, 64)
    assert made.precision == "float32 in ONNX Runtime"
    with torch.inference_mode():
        for count in (1, 3, 8):
            pictures = torch.randn(count, 3, 64, 64)
            said = made.images(pictures.to(memory_format=torch.channels_last))
            assert said.shape == (count, 16)
            assert torch.nn.functional.cosine_similarity(said, reference.encode_image(pictures)).min() > 0.9999


def test_without_the_packages_or_for_a_large_tower_torch_runs_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: False)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "onnx", None)
        assert precision.quicker(depthwise(), CPU, 64).precision == "float32"
    monkeypatch.setattr(precision, "LARGE_PARAMETERS", 1_000)
    assert precision.quicker(depthwise(), CPU, 64).precision == "float32"


def test_an_execution_that_says_something_else_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: False)
    wrong = precision.exported(depthwise(seed=1).visual, torch.zeros(2, 3, 64, 64))
    monkeypatch.setattr(precision, "exported", lambda *_: wrong)
    assert precision.quicker(depthwise(), CPU, 64).precision == "float32"
