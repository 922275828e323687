"""Surfaces: what a part is covered with. Arrays are (size, size, 3) float32 with values 0 to 255."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from freshlens.catalogue.palette import COLOURS, Rgb

Pixels: TypeAlias = NDArray[np.floating[Any]]
Mask: TypeAlias = NDArray[np.floating[Any]]
Random: TypeAlias = np.random.Generator

FIXED: dict[str, Rgb] = {
    "black": (44, 44, 48),
    "white": (240, 239, 236),
    "ivory": (232, 224, 204),
    "steel": (176, 182, 190),
    "gold": (206, 168, 92),
    "wood": (172, 122, 74),
    "dark wood": (98, 64, 42),
    "tan": (186, 128, 78),
    "glow": (255, 240, 200),
    "lens": (58, 62, 76),
    "leaf": (72, 128, 70),
}


def surface(fill: str, cloth: Cloth, size: int) -> Pixels:
    """Pixels of one fill: the pattern for "cloth", else one colour."""
    if fill == "cloth":
        return cloth.pixels(size)
    colour = cloth.colour(fill)
    return np.broadcast_to(np.asarray(colour, np.float32), (size, size, 3))


class Cloth:
    """The colours and the pattern of one product, and the chance details of its pattern."""

    def __init__(self, colour: str, second: str, pattern: str, seed: int) -> None:
        self._first = np.asarray(COLOURS[colour], np.float32)
        self._second = np.asarray(COLOURS[second], np.float32)
        self._pattern = pattern
        self._seed = seed
        self._drawn: dict[int, Pixels] = {}

    def colour(self, fill: str) -> Pixels:
        """One colour: base, trim, dark, light, inside, or a fixed one."""
        if fill == "trim":
            return self._second
        if fill == "base":
            return self._first
        if fill == "dark":
            return self._first * np.float32(0.55)
        if fill == "inside":
            return self._first * np.float32(0.72)
        if fill == "light":
            return self._first * np.float32(0.6) + np.float32(255 * 0.4)
        return np.asarray(FIXED[fill], np.float32)

    def pixels(self, size: int) -> Pixels:
        """The patterned surface at this size."""
        if size not in self._drawn:
            self._drawn[size] = self._paint(size)
        return self._drawn[size]

    def _paint(self, size: int) -> Pixels:
        if self._pattern == "plain":
            return np.broadcast_to(self._first, (size, size, 3))
        rng = np.random.default_rng(self._seed)
        mask = _MASKS[self._pattern](size, rng)[..., None]
        return self._first * (1 - mask) + self._second * mask


def _grid(size: int) -> tuple[Mask, Mask]:
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(axis, axis)
    return x, y


def _edge(distance: Mask, size: int) -> Mask:
    """1 where the signed distance (unit square) is below 0, with one pixel of softness."""
    mask: Mask = np.clip(0.5 - distance * size, 0, 1)
    return mask


def _wave(phase: Mask) -> Mask:
    return np.abs(np.mod(phase, 1) - 0.5)


def _stripes(size: int, rng: Random) -> Mask:
    _, y = _grid(size)
    count, share = rng.uniform(9, 16), rng.uniform(0.16, 0.28)
    return _edge((_wave(y * count) - share) / count, size)


def _pinstripes(size: int, rng: Random) -> Mask:
    x, _ = _grid(size)
    count = rng.uniform(16, 26)
    return _edge((_wave(x * count) - 0.11) / count, size)


def _dots(size: int, rng: Random) -> Mask:
    x, y = _grid(size)
    count, radius = rng.uniform(9, 17), rng.uniform(0.2, 0.3)
    row = np.floor(y * count)
    dx, dy = np.mod(x * count + 0.5 * np.mod(row, 2), 1) - 0.5, np.mod(y * count, 1) - 0.5
    return _edge((np.hypot(dx, dy) - radius) / count, size)


def _checks(size: int, rng: Random) -> Mask:
    x, y = _grid(size)
    count = rng.uniform(7, 14)
    across = _edge((_wave(x * count) - 0.25) / count, size)
    down = _edge((_wave(y * count) - 0.25) / count, size)
    return (across + down) / 2


def _argyle(size: int, rng: Random) -> Mask:
    x, y = _grid(size)
    count = rng.uniform(5, 8)
    diamonds = _edge((_wave(x * count) + _wave(y * count * 0.62) - 0.5) / count, size)
    lines = _edge((_wave((x + y * 0.62) * count) - 0.03) / count, size)
    mask: Mask = np.maximum(diamonds * 0.8, lines)
    return mask


def _zigzag(size: int, rng: Random) -> Mask:
    x, y = _grid(size)
    rows, teeth = rng.uniform(7, 12), rng.uniform(8, 13)
    return _edge((_wave(y * rows + 0.8 * _wave(x * teeth)) - 0.22) / rows, size)


def _ombre(size: int, rng: Random) -> Mask:
    _, y = _grid(size)
    start = rng.uniform(0.2, 0.32)
    mask: Mask = np.clip((y - start) / 0.5, 0, 1)
    return mask


def _colour_block(size: int, rng: Random) -> Mask:
    x, y = _grid(size)
    tilt, level = rng.uniform(-0.35, 0.35), rng.uniform(0.42, 0.58)
    return _edge(level - y + tilt * (x - 0.5), size)


def _stamp(size: int, draw: Callable[[ImageDraw.ImageDraw, int], None]) -> Mask:
    image = Image.new("L", (2 * size, 2 * size))
    draw(ImageDraw.Draw(image), 2 * size)
    return np.asarray(image.reduce(2), np.float32) / 255


def _floral(size: int, rng: Random) -> Mask:
    count, radius = int(rng.integers(6, 10)), rng.uniform(0.3, 0.4)
    turns = rng.uniform(0, 2 * np.pi, (count + 1, count + 1))

    def flowers(draw: ImageDraw.ImageDraw, side: int) -> None:
        step = side / count
        for row, column in np.ndindex(turns.shape):
            cx, cy = (column + 0.5 * (row % 2)) * step, (row + 0.3) * step
            for petal in range(5):
                angle = turns[row, column] + petal * 2 * np.pi / 5
                x, y = cx + np.cos(angle) * step * radius * 0.6, cy + np.sin(angle) * step * radius * 0.6
                r = step * radius * 0.5
                draw.ellipse((x - r, y - r, x + r, y + r), fill=235)
            r = step * radius * 0.3
            draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=40)

    return _stamp(size, flowers)


def _motif(points: list[tuple[float, float]]) -> Callable[[int, Random], Mask]:
    def paint(size: int, rng: Random) -> Mask:
        radius, cy = rng.uniform(0.11, 0.15), rng.uniform(0.46, 0.52)

        def stamp(draw: ImageDraw.ImageDraw, side: int) -> None:
            draw.polygon([((0.5 + radius * x) * side, (cy + radius * y) * side) for x, y in points], fill=255)

        return _stamp(size, stamp)

    return paint


def _star() -> list[tuple[float, float]]:
    turn = np.radians(np.arange(10) * 36 - 90)
    reach = np.where(np.arange(10) % 2 == 0, 1.1, 0.45)
    return [(float(x), float(y)) for x, y in zip(reach * np.cos(turn), reach * np.sin(turn), strict=True)]


def _heart() -> list[tuple[float, float]]:
    t = np.linspace(0, 2 * np.pi, 60)
    x = np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16
    return [(float(a), float(b)) for a, b in zip(x, y, strict=True)]


def _moon() -> list[tuple[float, float]]:
    outer, inner = np.radians(np.linspace(50, 310, 40)), np.radians(np.linspace(295, 65, 40))
    points = [(np.cos(a), np.sin(a)) for a in outer]
    points += [(0.42 + 0.78 * np.cos(a), 0.86 * np.sin(a)) for a in inner]
    return [(float(x), float(y)) for x, y in points]


_MASKS: dict[str, Callable[[int, Random], Mask]] = {
    "striped": _stripes,
    "pinstriped": _pinstripes,
    "polka-dot": _dots,
    "checked": _checks,
    "argyle": _argyle,
    "floral": _floral,
    "zigzag": _zigzag,
    "ombre": _ombre,
    "colour-block": _colour_block,
    "star-print": _motif(_star()),
    "heart-print": _motif(_heart()),
    "moon-print": _motif(_moon()),
}
