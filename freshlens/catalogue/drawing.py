"""Pictures of products: the studio picture of a shop, other views of it, and the product cut out."""

from __future__ import annotations

import numpy as np
from PIL import Image

from freshlens.catalogue.geometry import Part, transform
from freshlens.catalogue.products import Product
from freshlens.catalogue.rendering import render, studio
from freshlens.catalogue.surfaces import Cloth, Random

SIZE_MIN = 32


def draw(product: Product, size: int = 320, view: int = 0) -> Image.Image:
    """The studio picture: RGB, `size` pixels square (32 or more).

    View 0 is the front; every other number is one more view of the same product, turned and lit a little
    differently. The same arguments give the same pixels.
    """
    rng = np.random.default_rng((product.look, view, 1))
    return studio(draw_cutout(product, size, view), rng, standing=product.kind.standing)


def draw_cutout(product: Product, size: int = 320, view: int = 0) -> Image.Image:
    """The product alone on nothing: RGBA, `size` pixels square."""
    if size < SIZE_MIN:
        raise ValueError(f"size must be {SIZE_MIN} pixels or more, not {size}")
    proportions = np.random.default_rng((product.look, 2))
    parts = product.kind.draw(product.style, lambda low, high: float(proportions.uniform(low, high)))
    cloth = Cloth(product.colour, product.second_colour, product.pattern, product.look)
    rng = np.random.default_rng((product.look, view, 3))
    return render(_turned(parts, view, rng), cloth, size, rng, standing=product.kind.standing)


def _turned(parts: list[Part], view: int, rng: Random) -> list[Part]:
    if view == 0:
        return parts
    angle, yaw, scale = rng.uniform(-0.12, 0.12), rng.uniform(0.78, 1.0), rng.uniform(0.82, 1.0)
    mirror = -1.0 if view % 2 else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([mirror * yaw * scale, scale])
    centre = np.array([0.5, 0.5])
    shift = centre - matrix @ centre
    return [transform(part, matrix, (float(shift[0]), float(shift[1]))) for part in parts]
