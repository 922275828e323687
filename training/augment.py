"""What happens to a batch of pictures on its way into the model: a warp, light, a camera's faults, a cover."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as fn
from numpy.typing import NDArray
from torch import Tensor

from training.camera import photographed


@dataclass(frozen=True)
class Strength:
    """How far the warp and the light may go; `scale` is the visible share of the picture's side.

    `cover` and `faults` are the shares of pictures that are partly covered, or suffer from the camera.
    """

    scale_min: float
    scale_max: float
    angle: float
    perspective: float
    light: float
    cover: float
    faults: float


PHOTO = Strength(scale_min=0.45, scale_max=1.1, angle=0.25, perspective=0.12, light=0.35, cover=0.4, faults=0.5)
WORN = Strength(scale_min=0.65, scale_max=1.15, angle=0.2, perspective=0.1, light=0.4, cover=0.35, faults=0.4)
STUDIO = Strength(scale_min=0.7, scale_max=1.3, angle=0.12, perspective=0.06, light=0.2, cover=0.2, faults=0.3)
DRAWN = Strength(scale_min=0.85, scale_max=1.1, angle=0.06, perspective=0.03, light=0.08, cover=0.1, faults=0.2)


def augmented(images: NDArray[np.uint8], strength: Strength, size: int, generator: torch.Generator) -> Tensor:
    """(n, s, s, 3) uint8 to (n, 3, size, size) float, each changed at random, values -1 to 1."""
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255)
    batch = _warped(batch, strength, size, generator)
    batch = _lit(batch, strength.light, generator)
    _covered(batch, strength.cover, generator)
    return normalised(photographed(batch, strength.faults, generator))


def plain(images: NDArray[np.uint8], size: int) -> Tensor:
    """The same as `augmented` without any change."""
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255)
    if batch.shape[-1] != size:
        batch = fn.interpolate(batch, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
    return normalised(batch)


def normalised(batch: Tensor) -> Tensor:
    """0..1 to the mean 0.5, deviation 0.5 of `open_clip_config.json`."""
    return ((batch - 0.5) / 0.5).contiguous(memory_format=torch.channels_last)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _warped(batch: Tensor, strength: Strength, size: int, generator: torch.Generator) -> Tensor:
    n = len(batch)
    scale = _uniform((n,), strength.scale_min, strength.scale_max, generator)
    aspect = torch.exp(_uniform((n,), -0.2, 0.2, generator))
    angle = _uniform((n,), -1, 1, generator) * strength.angle
    mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    free = (1 - scale).abs().clamp(min=0.05)
    shift = _uniform((n, 2), -1, 1, generator) * free[:, None]
    tilt = _uniform((n, 2), -1, 1, generator) * strength.perspective
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid_x, grid_y = x[None] * (scale * aspect * mirror)[:, None, None], y[None] * (scale / aspect)[:, None, None]
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    turned = torch.stack([grid_x * cos - grid_y * sin, grid_x * sin + grid_y * cos], dim=-1)
    depth = 1 + (turned * tilt[:, None, None, :]).sum(-1, keepdim=True)
    return fn.grid_sample(batch, turned / depth + shift[:, None, None, :], padding_mode="border", align_corners=False)


def _lit(batch: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    n = len(batch)
    gain = 1 + _uniform((n, 1, 1, 1), -amount, amount, generator)
    cast = 1 + _uniform((n, 3, 1, 1), -0.3 * amount, 0.3 * amount, generator)
    batch = batch * gain * cast
    mean = batch.mean((1, 2, 3), keepdim=True)
    batch = mean + (batch - mean) * (1 + _uniform((n, 1, 1, 1), -amount, amount, generator))
    grey = batch.mean(1, keepdim=True)
    return (grey + (batch - grey) * (1 + _uniform((n, 1, 1, 1), -amount, amount, generator))).clamp_(0, 1)


def _covered(batch: Tensor, chance: float, generator: torch.Generator) -> None:
    """A box of one colour over part of some pictures."""
    size = batch.shape[-1]
    for place in torch.nonzero(torch.rand(len(batch), generator=generator) < chance).flatten().tolist():
        height, width = (torch.rand(2, generator=generator) * 0.3 * size + 0.1 * size).int().tolist()
        top, left = (torch.rand(2, generator=generator) * 0.8 * size).int().tolist()
        colour = torch.rand(3, 1, 1, generator=generator)
        batch[place, :, top : top + height, left : left + width] = colour
