"""From parts to a picture: antialiased masks, surfaces, soft light, a shadow and a studio background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from freshlens.catalogue.geometry import Part, all_points
from freshlens.catalogue.surfaces import Cloth, Mask, Pixels, Random, surface

_OVERSAMPLING = 3


def render(parts: Sequence[Part], cloth: Cloth, size: int, rng: Random, *, standing: bool) -> Image.Image:
    """The product alone: RGBA, `size` pixels square, shadow not included. Later parts lie above earlier ones."""
    colour = np.zeros((size, size, 3), np.float32)
    alpha = np.zeros((size, size), np.float32)
    folds = _folds(size, rng, 0.02 if standing else 0.07)
    for part in parts:
        window = _window(part, size)
        if window[0].start >= window[0].stop or window[1].start >= window[1].stop:
            continue
        mask = _mask(part, size, window)
        pixels = surface(part.fill, cloth, size)[window] * _light(part, mask, folds[window], size)[..., None]
        over = mask[..., None]
        colour[window] = colour[window] * (1 - over) + pixels * over
        alpha[window] = np.maximum(alpha[window], mask)
    return _rgba(colour, alpha)


def studio(product: Image.Image, rng: Random, *, standing: bool) -> Image.Image:
    """The cut-out on a light studio background with its shadow: RGB."""
    size = product.width
    backdrop = _backdrop(size, rng)
    alpha = product.getchannel("A")
    shadow = _floor_shadow(alpha, size) if standing else _wall_shadow(alpha, size)
    darkness = np.asarray(shadow, np.float32)[..., None] / 255 * np.float32(0.42)
    picture = Image.fromarray(np.clip(backdrop * (1 - darkness), 0, 255).astype(np.uint8))
    picture.paste(product, mask=alpha)
    return picture


def _rgba(colour: Pixels, alpha: Mask) -> Image.Image:
    # Under a soft edge the colour is mixed with black; dividing gives the true colour back for pasting.
    straight = colour / np.maximum(alpha, 1e-3)[..., None]
    stacked = np.concatenate([np.clip(straight, 0, 255), alpha[..., None] * 255], axis=2)
    return Image.fromarray(stacked.astype(np.uint8), "RGBA")


def _window(part: Part, size: int) -> tuple[slice, slice]:
    points = all_points([part]) * size
    margin = part.line_width * size + 2
    low = np.clip(np.floor(points.min(0) - margin), 0, size).astype(int)
    high = np.clip(np.ceil(points.max(0) + margin), 0, size).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _mask(part: Part, size: int, window: tuple[slice, slice]) -> Mask:
    rows, columns = window
    width, height = columns.stop - columns.start, rows.stop - rows.start
    image = Image.new("L", (width * _OVERSAMPLING, height * _OVERSAMPLING))
    draw = ImageDraw.Draw(image)
    offset = np.array([columns.start, rows.start])

    def pixels(outline: NDArray[np.float64]) -> list[tuple[float, float]]:
        return [(x, y) for x, y in ((outline * size - offset) * _OVERSAMPLING).tolist()]

    if part.line_width:
        stroke = max(1, round(part.line_width * size * _OVERSAMPLING))
        draw.line(pixels(part.outline), fill=255, width=stroke, joint="curve")
    else:
        draw.polygon(pixels(part.outline), fill=255)
    for hole in part.holes:
        draw.polygon(pixels(hole), fill=0)
    return np.asarray(image.reduce(_OVERSAMPLING), np.float32) / 255


def _light(part: Part, mask: Mask, folds: Mask, size: int) -> Mask:
    """What the colour is multiplied with; the light comes from the upper left."""
    if part.shade == "flat":
        return np.full_like(mask, 1.0)
    blurred = _blur(mask, size * 0.028)
    step = max(1, size // 60)
    slope = np.roll(blurred, -step, 1) - np.roll(blurred, step, 1)
    slope = slope + np.roll(blurred, -step, 0) - np.roll(blurred, step, 0)
    light = 0.99 + 0.28 * slope - 0.26 * np.clip(1 - blurred, 0, 0.5)
    if part.shade == "soft":
        return light + folds
    return light * _cylinder(mask.shape[1], glossy=part.shade == "glossy")


def _cylinder(width: int, *, glossy: bool) -> Mask:
    x = np.linspace(-1, 1, max(width, 1), dtype=np.float32)
    light: Mask = 1.06 - 0.42 * np.clip(np.abs(x + 0.25), 0, 1.2) ** 2.2
    if glossy:
        light = light + 0.45 * np.exp(-(((x + 0.45) / 0.13) ** 2)) + 0.14 * np.exp(-(((x - 0.62) / 0.08) ** 2))
    return light[None, :]


def _blur(mask: Mask, radius: float) -> Mask:
    image = Image.fromarray((mask * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def _folds(size: int, rng: Random, strength: float) -> Mask:
    """Low, mostly vertical waves, as cloth has."""
    coarse = rng.uniform(0, 255, (5, 9)).astype(np.uint8)
    grown = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 0.012, (size, size)).astype(np.float32)
    return (np.asarray(grown, np.float32) / 127.5 - 1) * np.float32(strength) + grain


def _backdrop(size: int, rng: Random) -> Pixels:
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    distance = np.hypot(axis[None, :], axis[:, None] + 0.25)
    tint = np.array([247, 247, 246], np.float32) + rng.uniform(-4, 4, 3).astype(np.float32)
    backdrop: Pixels = tint * (1.02 - 0.085 * distance[..., None] ** 1.6)
    return backdrop


def _wall_shadow(alpha: Image.Image, size: int) -> Image.Image:
    shifted = Image.new("L", alpha.size)
    shifted.paste(alpha, (round(size * 0.012), round(size * 0.022)))
    return shifted.filter(ImageFilter.GaussianBlur(size * 0.022))


def _floor_shadow(alpha: Image.Image, size: int) -> Image.Image:
    left, _, right, bottom = alpha.getbbox() or (0, 0, size, size)
    half = (right - left) / 2
    shadow = Image.new("L", alpha.size)
    area = (left - half * 0.06, bottom - size * 0.035, right + half * 0.06, bottom + size * 0.03)
    ImageDraw.Draw(shadow).ellipse(area, fill=255)
    return shadow.filter(ImageFilter.GaussianBlur(size * 0.02))
