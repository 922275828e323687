"""Drawn products and their pictures, small and quick."""

import io
from functools import cache

import numpy as np

from freshlens.catalogue import draw, draw_cutout, phone_photo, product


@cache
def studio(number: int, size: int = 224) -> bytes:
    """The product's own picture as a JPEG."""
    return _jpeg(draw(product(number), size))


@cache
def photo(number: int, severity: float = 0.2) -> bytes:
    """A phone photo of the product as a JPEG."""
    return _jpeg(phone_photo(draw_cutout(product(number), 224), np.random.default_rng(number), severity))


def _jpeg(image: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)  # type: ignore[attr-defined]
    return file.getvalue()
