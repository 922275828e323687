"""What is wrong with a query's picture, in words that a page can show, and whether it shows anything. Pure."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from processors.encoders.encoder import Pixels

NOISE = "noise"
SAID = {
    "blank": "the picture has one colour only; take one that shows the product",
    NOISE: "the picture shows noise and no object",
    "dark": "the picture is too dark; more light helps",
    "bright": "the picture is too bright; less light helps",
    "blurred": "the picture is blurred; hold the camera still, or go nearer",
    "small": "the picture is very small; a larger one finds more",
}
"""Flags of a decoded picture's ``Quality`` and our own, the gravest first, with the reason and the way out."""
_HOPELESS = frozenset({"blank", NOISE})
_NEIGHBOURS = 42
_ALIKE_MIN = 0.1
"""In photos, points a fortieth of the picture apart are alike by 0.2 at least; in noise, whatever its size, by 0.02."""


def is_noise(pixels: Pixels) -> bool:
    """Whether points near each other have nothing to do with each other; ``pixels`` (size, size, 3) uint8."""
    grey = pixels.astype(np.float32).mean(axis=2)
    step = max(1, len(grey) // _NEIGHBOURS)
    if len(grey) < _NEIGHBOURS or float(grey.std()) < 1.0:
        return False
    return max(_alike(grey[:, step:], grey[:, :-step]), _alike(grey[step:], grey[:-step])) < _ALIKE_MIN


def warnings_of(pictures: Sequence[Sequence[str]]) -> list[str]:
    """One warning for each thing that is wrong with any of the pictures: ``picture-blank: …``."""
    found = {flag for flags in pictures for flag in flags}
    return [f"picture-{flag}: {said}" for flag, said in SAID.items() if flag in found]


def is_hopeless(pictures: Sequence[Sequence[str]]) -> bool:
    """Whether there are pictures, and none of them shows anything."""
    return bool(pictures) and all(not _HOPELESS.isdisjoint(flags) for flags in pictures)


def _alike(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """The correlation of two arrays of one shape, -1 to 1."""
    a, b = one - one.mean(), other - other.mean()
    return float((a * b).sum() / (np.sqrt((a * a).sum() * (b * b).sum()) + 1e-9))
