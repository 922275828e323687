"""Pictures to unit vectors, by a model that learns and by one that learns no more."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as fn

from processors.encoders.onnx_images import OnnxImages
from processors.encoders.onnx_network import exported
from training.augment import plain
from training.evaluate import Encode

_BATCH = 64


def embed_images(model: Any, images: Any, pixels: int) -> Any:
    """(n, s, s, 3) uint8 to (n, width) float32 of unit norm, in eval mode."""
    model.eval()
    with torch.inference_mode():
        return _embedded(model.encode_image, images, pixels)


def finished(model: Any, pixels: int) -> Encode:
    """The same for a model whose weights stay: run as it is served, several times as quick."""
    run = OnnxImages(exported(model.eval().visual, torch.zeros(2, 3, pixels, pixels)), torch.get_num_threads())
    return lambda images: _embedded(run, images, pixels)


def _embedded(encode: Any, images: Any, pixels: int) -> Any:
    parts = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
    return torch.cat([fn.normalize(encode(plain(part, pixels)), dim=-1) for part in parts]).float().numpy()
