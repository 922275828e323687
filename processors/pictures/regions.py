"""Where objects may be in a picture: what differs from its border, or stands out in its spectrum. No torch."""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from processors.encoders.encoder import Pixels

Field = npt.NDArray[np.float32]
"""(height, width) float32."""

REGIONS_MAX = 6
_SIDE = 128
"""Objects are looked for at this size: a shoe fills a third of it, and a hundredth of a second is enough."""
_AREA_MIN, _AREA_MAX = 0.015, 0.85
"""Shares of the picture: less is a speck, more is the picture itself."""
_PLAIN = 14.0
"""A border whose colours lie so near to each other (in CIELAB, 8 bits) is a background."""
_STANDS_OUT = 12.0
_OVERLAP_MAX = 0.35
_MARGIN = 0.03
"""Boxes are widened by this share of the picture, as the edge of an object is part of it."""


class Region(NamedTuple):
    """Left, top, width and height as shares of the picture, 0 to 1."""

    x: float
    y: float
    width: float
    height: float


def propose(picture: Pixels, count: int = REGIONS_MAX) -> list[Region]:
    """Boxes around what may be objects, the most striking first; at most ``count``, and none in an empty picture.

    Args:
        picture: (height, width, 3) uint8, RGB.
        count: >= 1.
    """
    cv2.setNumThreads(1)
    height, width = picture.shape[:2]
    scale = _SIDE / max(height, width)
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    lab = cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB).astype(np.float32)
    plain = _from_border(lab)
    striking = _spectral(lab) if plain is None else plain
    mask = striking > (_threshold(striking) if plain is None else max(_STANDS_OUT, 0.5 * _threshold(striking)))
    return _boxes(mask.astype(np.uint8), striking, count)


def _from_border(lab: Field) -> Field | None:
    """How far each pixel's colour is from that of the border; None where the border is no plain background."""
    border = np.concatenate(
        [lab[:3].reshape(-1, 3), lab[-3:].reshape(-1, 3), lab[:, :3].reshape(-1, 3), lab[:, -3:].reshape(-1, 3)]
    )
    middle = np.median(border, axis=0)
    spread = float(np.median(np.linalg.norm(border - middle, axis=1)))
    if spread > _PLAIN:
        return None
    distance: Field = np.linalg.norm(lab - middle, axis=2).astype(np.float32)
    return distance


def _spectral(lab: Field) -> Field:
    """Spectral residual (Hou and Zhang, 2007): what the picture's own spectrum does not lead to expect."""
    saliency = np.zeros(lab.shape[:2], np.float32)
    for channel in range(3):
        spectrum = np.fft.fft2(cv2.resize(lab[:, :, channel], (64, 64)))
        amplitude = np.log(np.abs(spectrum) + 1e-6).astype(np.float32)
        residual = amplitude - cv2.blur(amplitude, (3, 3))
        back = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
        smooth = cv2.GaussianBlur(back.astype(np.float32), (0, 0), 3.0)
        saliency += cv2.resize(smooth, lab.shape[1::-1])
    return 255 * saliency / max(float(saliency.max()), 1e-9)


def _threshold(striking: Field) -> float:
    """Otsu's: what divides the values into two groups best."""
    top = max(float(striking.max()), 1e-9)
    level, _ = cv2.threshold((striking / top * 255).astype(np.uint8), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return level / 255 * top


def _boxes(mask: npt.NDArray[np.uint8], striking: Field, count: int) -> list[Region]:
    height, width = mask.shape
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    found, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    scored: list[tuple[float, Region]] = []
    for label in range(1, found):
        x, y, w, h, area = stats[label].tolist()
        share, filled = w * h / (width * height), area / (width * height)
        if share >= _AREA_MIN and filled <= _AREA_MAX and share < 1:
            strength = float(striking[labels == label].sum())
            scored.append((strength, _widened(Region(x / width, y / height, w / width, h / height))))
    scored.sort(key=lambda each: -each[0])
    kept: list[Region] = []
    for _, region in scored:
        if all(overlap(region, other) <= _OVERLAP_MAX for other in kept):
            kept.append(region)
    return kept[:count]


def overlap(one: Region, other: Region) -> float:
    """Intersection over union, 0 to 1."""
    across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    shared = max(0.0, across) * max(0.0, down)
    return shared / (one.width * one.height + other.width * other.height - shared)


def _widened(region: Region) -> Region:
    left, top = max(0.0, region.x - _MARGIN), max(0.0, region.y - _MARGIN)
    right = min(1.0, region.x + region.width + _MARGIN)
    bottom = min(1.0, region.y + region.height + _MARGIN)
    return Region(*(round(value, 4) for value in (left, top, right - left, bottom - top)))
