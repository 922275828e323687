"""What a trained encoder must beat: colours alone, edges alone, its own architecture untrained, and ImageNet alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image

from training.embedding import finished
from training.evaluate import Encode
from training.train import SERVED_PIXELS
from training.trunk import imagenet_weights

_BINS = (12, 4, 4)
_HOG_PIXELS, _HOG_CELLS, _HOG_BINS = 64, 8, 9


def histogram_vectors(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, side, side, 3) uint8 to (n, 192) float32 of unit norm (root of the shares of 12 x 4 x 4 bins)."""
    rows = np.empty((len(images), int(np.prod(_BINS))), np.float32)
    for place, pixels in enumerate(images):
        small = Image.fromarray(pixels).resize((64, 64)).convert("HSV")
        hsv = np.asarray(small, np.int64).reshape(-1, 3) * _BINS // 256
        flat = (hsv[:, 0] * _BINS[1] + hsv[:, 1]) * _BINS[2] + hsv[:, 2]
        rows[place] = np.sqrt(np.bincount(flat, minlength=rows.shape[1]) / len(flat))
    return rows


def gradient_vectors(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, side, side, 3) uint8 to (n, 576) float32 of unit norm: oriented gradients of 8 x 8 cells, 9 bins each.

    After Dalal and Triggs (2005), with one normalisation for the whole picture.
    """
    return np.stack([_oriented(Image.fromarray(pixels)) for pixels in images])


def _oriented(image: Image.Image) -> NDArray[np.float32]:
    grey = np.asarray(image.convert("L").resize((_HOG_PIXELS, _HOG_PIXELS)), np.float32)
    down, right = np.gradient(grey)
    bins = (np.arctan2(down, right) % np.pi / np.pi * _HOG_BINS).astype(int) % _HOG_BINS
    cells = np.arange(_HOG_PIXELS) * _HOG_CELLS // _HOG_PIXELS
    place = (cells[:, None] * _HOG_CELLS + cells) * _HOG_BINS + bins
    row = np.bincount(place.ravel(), np.hypot(down, right).ravel(), _HOG_CELLS**2 * _HOG_BINS)
    unit: NDArray[np.float32] = (row / max(float(np.linalg.norm(row)), 1e-9)).astype(np.float32)
    return unit


def untrained(config: Path) -> Encode:
    """The architecture of an open_clip folder with random weights."""
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{config}", load_weights=False)
    return finished(model, SERVED_PIXELS)


def imagenet_alone(config: Path) -> Encode:
    """The features that the image tower began with, before anything was learned here."""
    model = open_clip.create_model(f"local-dir:{config}", load_weights=False)
    model.load_state_dict(imagenet_weights(model.visual.trunk, "visual.trunk."), strict=False)
    model.visual.head = torch.nn.Identity()
    return finished(model, SERVED_PIXELS)
