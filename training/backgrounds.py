"""Studio pictures before another background: whatever joins the border in the border's white is replaced."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_WHITE = 235
_PLAIN_BORDER = 0.9
"""The share of a picture's border that is white where a background can be told from its product."""
_LEAST, _MOST = 0.05, 0.95
"""Of a picture: a product that fills less or more was not found, but confused with its background."""


def before_another(
    images: NDArray[np.uint8], chance: float, scenes: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """(n, side, side, 3) pictures, of which about `chance` of those on white stand before one of the `scenes`.

    `scenes` are (m, side, side, 3) pictures of anything; they are blurred, as what lies behind a product is.
    """
    changed = images.copy()
    for place in np.flatnonzero(rng.random(len(images)) < chance):
        behind = background(images[place])
        if behind is None:
            continue
        scene = cv2.GaussianBlur(scenes[rng.integers(len(scenes))], (0, 0), float(rng.uniform(0.5, 6)))
        share = cv2.GaussianBlur(behind.astype(np.float32), (3, 3), 0)[..., None]
        changed[place] = (images[place] * (1 - share) + scene * share).astype(np.uint8)
    return changed


def background(image: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """(side, side) of 1 where the picture shows the white behind its product; None where it has no such white."""
    white = (image.min(axis=2) >= _WHITE).astype(np.uint8)
    border = np.concatenate([white[0], white[-1], white[:, 0], white[:, -1]])
    if border.mean() < _PLAIN_BORDER:
        return None
    _, regions = cv2.connectedComponents(white, connectivity=4)
    outside = np.unique(np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]]))
    behind = np.isin(regions, outside[outside > 0]).astype(np.uint8)
    return behind if _LEAST <= 1 - behind.mean() <= _MOST else None
