"""Making a model quicker changes nothing of what it says, or is not done."""

import copy

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
    assert precision.quicker(model, CPU, 32)[1] is torch.float32
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)
    monkeypatch.setattr(precision, "least_cosine", lambda *_: cosine)
    made, given = precision.quicker(model, CPU, 32)
    assert given is dtype
    assert next(made.parameters()).dtype is dtype


def test_the_least_cosine_is_of_what_models_say_of_pictures() -> None:
    class Says(torch.nn.Module):
        def __init__(self, vector: list[float]) -> None:
            super().__init__()
            self.vector = torch.nn.Parameter(torch.tensor(vector))

        def encode_image(self, pictures: torch.Tensor) -> torch.Tensor:
            return self.vector.expand(len(pictures), -1)

    assert precision.least_cosine(Says([1.0, 0.0]), Says([1.0, 0.0]), CPU, 32) == pytest.approx(1)
    assert precision.least_cosine(Says([1.0, 0.0]), Says([0.6, 0.8]), CPU, 32) == pytest.approx(0.6)
