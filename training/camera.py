"""What a phone's camera does to a picture: a hand that shakes, a lens out of focus, a dark room, grain, and JPEG."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

_LONGEST_BLUR = 0.06
"""Of the picture's side: how far a hand shakes while the shutter is open, or how wide a point out of focus gets."""


def photographed(batch: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """(n, 3, size, size) of 0..1; of `share` of the pictures, each gets one fault, in any severity.

    JPEG comes on top for half of them, as a phone writes what its sensor saw.
    """
    count = round(share * len(batch))
    order = torch.randperm(len(batch), generator=generator)[:count]
    shaken, unfocused, dark, grainy = (order[start::4] for start in range(4))
    for place in shaken.tolist():
        batch[place] = _blurred(batch[place], _line(batch.shape[-1], generator))
    for place in unfocused.tolist():
        batch[place] = _blurred(batch[place], _disc(batch.shape[-1], generator))
    batch[dark] *= _uniform(len(dark), 0.2, 0.8, generator)
    grain = torch.randn(batch[grainy].shape, generator=generator)
    batch[grainy] = (batch[grainy] + grain * _uniform(len(grainy), 0.02, 0.2, generator)).clamp_(0, 1)
    for place in order[::2].tolist():
        batch[place] = _compressed(batch[place], int(torch.randint(6, 70, (), generator=generator)))
    return batch


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, 1, 1, 1, generator=generator) * (high - low) + low


def _line(size: int, generator: torch.Generator) -> Tensor:
    """A kernel that smears along one direction."""
    length = 2 + float(torch.rand((), generator=generator)) * (2 * _LONGEST_BLUR * size - 2)
    angle = float(torch.rand((), generator=generator)) * math.pi
    across, along = _distances(length / 2)
    off_line = (across * math.sin(angle) - along * math.cos(angle)).abs()
    on_line = across * math.cos(angle) + along * math.sin(angle)
    return (1 - off_line).clamp(min=0) * (on_line.abs() <= length / 2)


def _disc(size: int, generator: torch.Generator) -> Tensor:
    """A kernel that spreads a point over a disc."""
    radius = 1 + float(torch.rand((), generator=generator)) * (_LONGEST_BLUR * size - 1)
    across, along = _distances(radius)
    return (radius + 0.5 - (across**2 + along**2).sqrt()).clamp(0, 1)


def _distances(radius: float) -> tuple[Tensor, Tensor]:
    axis = torch.arange(-math.ceil(radius), math.ceil(radius) + 1, dtype=torch.float32)
    along, across = torch.meshgrid(axis, axis, indexing="ij")
    return across, along


def _blurred(image: Tensor, kernel: Tensor) -> Tensor:
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    smeared = cv2.filter2D(pixels, -1, (kernel / kernel.sum()).numpy(), borderType=cv2.BORDER_REPLICATE)
    return torch.from_numpy(smeared).permute(2, 0, 1)


def _compressed(image: Tensor, quality: int) -> Tensor:
    pixels = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).contiguous().numpy()
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return torch.from_numpy(np.asarray(decoded, np.float32) / 255).permute(2, 0, 1)
