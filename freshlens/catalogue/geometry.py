"""Outlines in the unit square (x to the right, y down) and the parts that a drawing is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Outline: TypeAlias = NDArray[np.float64]
"""(n, 2) points in the unit square."""
Points: TypeAlias = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Part:
    """One painted piece of a product.

    `fill` names a surface of `surfaces.py` ("cloth" carries the pattern); `shade` is how light falls on it:
    soft (fabric), round (a cylinder), glossy, flat. A `line_width` above 0 strokes the points instead of
    filling them.
    """

    outline: Outline
    fill: str = "cloth"
    shade: str = "soft"
    line_width: float = 0.0
    holes: tuple[Outline, ...] = field(default=())


def polygon(points: Points) -> Outline:
    """The points as they are, with straight edges."""
    return np.asarray(points, np.float64)


def smooth(points: Points, *, closed: bool = True, steps: int = 8) -> Outline:
    """A Catmull-Rom curve through the points; a point given twice in a row stays a corner."""
    given = np.asarray(points, np.float64)
    if not closed:
        given = np.concatenate([given[:1], given, given[-1:]])
    ends = len(given) if closed else len(given) - 3
    before = np.roll(given, 1, 0) if closed else given[:ends]
    start = given if closed else given[1 : 1 + ends]
    stop = np.roll(given, -1, 0) if closed else given[2 : 2 + ends]
    after = np.roll(given, -2, 0) if closed else given[3 : 3 + ends]
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (x[:, None, :] for x in (before, start, stop, after))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    corner = (start == stop).all(axis=1)  # a doubled point would curl
    curve[corner] = start[corner][:, None, :]
    flat: Outline = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, given[-1:]])


def mirrored(right_half: Points, *, curved: bool = True) -> Outline:
    """A symmetric outline about x = 0.5 from its right half, listed from top to bottom."""
    left = [(1 - x, y) for x, y in reversed(right_half)]
    whole = [*right_half, *left]
    return smooth(whole) if curved else polygon(whole)


def flip(part: Part) -> Part:
    """The part mirrored about x = 0.5."""
    return transform(part, np.array([[-1.0, 0.0], [0.0, 1.0]]), (1.0, 0.0))


def pair(part: Part) -> list[Part]:
    """The part and its mirror image."""
    return [part, flip(part)]


def transform(part: Part, matrix: NDArray[np.float64], shift: tuple[float, float] = (0.0, 0.0)) -> Part:
    """The part with every point p replaced by `matrix @ p + shift`."""
    move = np.asarray(shift)
    holes = tuple(hole @ matrix.T + move for hole in part.holes)
    return replace(part, outline=part.outline @ matrix.T + move, holes=holes)


def ellipse(cx: float, cy: float, rx: float, ry: float, start: float = 0, stop: float = 360) -> Outline:
    """An ellipse, or its arc from `start` to `stop` degrees (0 to the right, 90 downwards)."""
    angle = np.radians(np.linspace(start, stop, 48))
    return np.stack([cx + rx * np.cos(angle), cy + ry * np.sin(angle)], axis=1)


def box(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> Outline:
    """A rectangle with rounded corners."""
    r = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    if r <= 0:
        return polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    corners = [(x1 - r, y0 + r, -90), (x1 - r, y1 - r, 0), (x0 + r, y1 - r, 90), (x0 + r, y0 + r, 180)]
    return np.concatenate([ellipse(x, y, r, r, a, a + 90)[::6] for x, y, a in corners])


def line(points: Points, width: float, fill: str = "dark", *, curved: bool = False) -> Part:
    """A stroke: a seam, a strap, a lace, a leg."""
    outline = smooth(points, closed=False) if curved else polygon(points)
    return Part(outline, fill, "flat", line_width=width)


def between(a: Points, b: Points, share: float) -> Points:
    """The points on the way from `a` to `b`."""
    mixed = (1 - share) * np.asarray(a) + share * np.asarray(b)
    return [(float(x), float(y)) for x, y in mixed]


def all_points(parts: Iterable[Part]) -> Outline:
    """Every outline point of the parts in one array."""
    return np.concatenate([part.outline for part in parts])
