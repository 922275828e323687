"""Phone photos of products, with known truth: background, perspective, light, occlusion, blur, noise, JPEG."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from freshlens.catalogue.surfaces import Pixels, Random


def phone_photo(image: Image.Image, rng: Random, severity: float = 0.5, size: int | None = None) -> Image.Image:
    """What a phone would make of the product: RGB, `size` pixels square (default: the picture's width).

    `image` is a cut-out (RGBA, as `draw_cutout` gives) or a picture on a plain background, which is then
    cut out by colour. `severity` goes from 0 (a careful photo) to 1 (dark, blurred, tilted, half covered).
    """
    side = size or image.width
    scene = clutter(side, rng)
    cutout = image if image.mode == "RGBA" else _cut_out(image)
    placed = _placed(cutout, side, rng, severity)
    shadow = ImageChops.offset(placed.getchannel("A"), side // 40, side // 30)
    shadow = shadow.filter(ImageFilter.GaussianBlur(side * 0.03)).point(lambda value: value * 0.5)
    scene.paste((0, 0, 0), mask=shadow)
    scene.paste(placed, mask=placed.getchannel("A"))
    if rng.random() < 0.45 * severity:
        _cover(scene, rng, severity)
    return _taken(scene, rng, severity)


def clutter(size: int, rng: Random) -> Image.Image:
    """A background without a product: planks, tiles, a wall, cloth or floor, with things lying about."""
    base = _TEXTURES[int(rng.integers(len(_TEXTURES)))](size, rng)
    image = Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 7))):
        _object(draw, size, rng)
    return image.filter(ImageFilter.GaussianBlur(size * float(rng.uniform(0, 0.012))))


def _object(draw: ImageDraw.ImageDraw, size: int, rng: Random) -> None:
    colour = tuple(int(c) for c in rng.integers(10, 250, 3))
    x, y = rng.uniform(-0.1, 1.1, 2) * size
    w, h = rng.uniform(0.05, 0.4, 2) * size
    if rng.random() < 0.4:
        draw.ellipse((x - w / 2, y - h / 2, x + w / 2, y + h / 2), fill=colour)
    else:
        angle = rng.uniform(0, np.pi)
        c, s = np.cos(angle), np.sin(angle)
        corners = [(-w, -h), (w, -h), (w, h), (-w, h)]
        draw.polygon([(x + (a * c - b * s) / 2, y + (a * s + b * c) / 2) for a, b in corners], fill=colour)


def _noise(size: int, rng: Random, cells: int, rows: int | None = None) -> Pixels:
    coarse = rng.uniform(0, 255, (rows or cells, cells)).astype(np.uint8)
    grown = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(grown, np.float32)[..., None] / 127.5 - 1


def _tone(rng: Random, low: float, high: float, spread: float = 25) -> Pixels:
    return (rng.uniform(low, high) + rng.uniform(-spread, spread, 3)).astype(np.float32)


def _planks(size: int, rng: Random) -> Pixels:
    count = int(rng.integers(3, 8))
    wood = np.array([1.15, 0.92, 0.68], np.float32) * rng.uniform(90, 190)
    grain = _noise(size, rng, 3, 60) * 16 + _noise(size, rng, 4, 14) * 12
    rows = np.mod(np.arange(size) * count / size, 1)
    gap = np.where(rows < 0.05, 0.55, 1.0).astype(np.float32)[:, None, None]
    picture = (wood + grain) * gap
    return picture if rng.random() < 0.5 else picture.transpose(1, 0, 2)


def _tiles(size: int, rng: Random) -> Pixels:
    count = rng.uniform(3, 8)
    axis = np.mod(np.arange(size) * count / size, 1)
    joint = np.minimum((axis > 0.05)[:, None], (axis > 0.05)[None, :]).astype(np.float32)[..., None]
    return _tone(rng, 90, 235) * (0.75 + 0.25 * joint) + _noise(size, rng, 9) * 8


def _wall(size: int, rng: Random) -> Pixels:
    return _tone(rng, 60, 240) + _noise(size, rng, 4) * 22 + _noise(size, rng, 48) * 7


def _fabric(size: int, rng: Random) -> Pixels:
    first, second = _tone(rng, 40, 230, 70), _tone(rng, 40, 230, 70)
    count = rng.uniform(4, 22)
    axis = np.mod(np.arange(size) * count / size, 1) < rng.uniform(0.2, 0.6)
    weave = (axis[:, None] * 0.5 + axis[None, :] * 0.5 * (rng.random() < 0.5))[..., None].astype(np.float32)
    return first * (1 - weave) + second * weave + _noise(size, rng, 6) * 14


def _shelf(size: int, rng: Random) -> Pixels:
    picture = np.empty((size, size, 3), np.float32)
    edges = np.unique(np.concatenate([[0, size], rng.integers(0, size, int(rng.integers(3, 9)))]))
    for start, stop in pairwise(edges.tolist()):
        picture[:, start:stop] = _tone(rng, 40, 220, 70)
    picture[int(rng.uniform(0.6, 0.95) * size) :] *= 0.6
    return picture + _noise(size, rng, 24) * 10


_TEXTURES = (_planks, _tiles, _wall, _fabric, _shelf)


def _cut_out(image: Image.Image) -> Image.Image:
    """Alpha from the distance to the colour of the four corners."""
    rgb = image.convert("RGB")
    pixels = np.asarray(rgb, np.float32)
    corners = np.median(pixels[[0, 0, -1, -1], [0, -1, 0, -1]], axis=0)
    distance = np.abs(pixels - corners).max(axis=2)
    alpha = Image.fromarray((np.clip((distance - 14) / 14, 0, 1) * 255).astype(np.uint8))
    rgb.putalpha(alpha.filter(ImageFilter.MaxFilter(5)).filter(ImageFilter.MinFilter(5)))
    return rgb


def _placed(cutout: Image.Image, size: int, rng: Random, severity: float) -> Image.Image:
    """The cut-out in perspective somewhere in the frame."""
    scale = rng.uniform(0.62, 1.12 + 0.1 * severity)
    angle = rng.normal(0, 0.12 + 0.25 * severity)
    shift = rng.uniform(-0.06 - 0.08 * severity, 0.06 + 0.08 * severity, 2) + 0.5
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    jitter = rng.uniform(-0.02 - 0.1 * severity, 0.02 + 0.1 * severity, (4, 2))
    target = ((corners + jitter) @ turn.T * scale + shift) * size
    source = (corners + 0.5) * np.array(cutout.size)
    coefficients = _homography(target, source)
    return cutout.transform((size, size), Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC)


def _homography(frm: Pixels, to: Pixels) -> list[float]:
    """The eight numbers that map each of four points to its partner."""
    rows, right = [], []
    for (x, y), (u, v) in zip(frm, to, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    return [float(value) for value in np.linalg.solve(np.array(rows), np.array(right))]


def _cover(scene: Image.Image, rng: Random, severity: float) -> None:
    """A hand, a sleeve or a neighbour in front of one side."""
    size = scene.width
    reach = rng.uniform(0.06, 0.1 + 0.16 * severity) * size
    along = rng.uniform(0, size)
    skin = tuple(int(c) for c in np.array([214, 168, 140]) * rng.uniform(0.45, 1.1))
    colour = skin if rng.random() < 0.5 else tuple(int(c) for c in rng.integers(10, 240, 3))
    side = int(rng.integers(4))
    centre = [(along, 0), (along, size), (0, along), (size, along)][side]
    ImageDraw.Draw(scene).ellipse(
        (centre[0] - reach * 1.6, centre[1] - reach * 1.6, centre[0] + reach * 1.6, centre[1] + reach * 1.6),
        fill=colour,
    )


def _taken(scene: Image.Image, rng: Random, severity: float) -> Image.Image:
    """Light, colour cast, blur, sensor noise and JPEG."""
    size = scene.width
    blur = rng.uniform(0, 0.002 + 0.008 * severity) * size
    pixels = np.asarray(scene.filter(ImageFilter.GaussianBlur(blur)), np.float32)
    if rng.random() < 0.4 * severity:
        pixels = _shaken(pixels, int(rng.integers(2, 3 + round(size * 0.03 * severity))), bool(rng.random() < 0.5))
    cast = 1 + rng.uniform(-1, 1, 3).astype(np.float32) * (0.04 + 0.14 * severity)
    exposure = np.exp(rng.normal(-0.08 * severity, 0.1 + 0.28 * severity))
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    slope = rng.uniform(-0.6, 0.6, 2) * severity
    light = 1 + slope[0] * axis[None, :, None] + slope[1] * axis[:, None, None]
    gamma = np.exp(rng.normal(0, 0.1 + 0.15 * severity))
    lit = 255 * np.clip(pixels / 255 * cast * exposure * light, 0, 1) ** gamma
    lit = lit + rng.normal(0, 2 + 9 * severity * rng.random(), lit.shape)
    shot = Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    shot.save(buffer, "JPEG", quality=int(rng.uniform(88 - 55 * severity, 93)))
    return Image.open(buffer).convert("RGB")


def _shaken(pixels: Pixels, length: int, sideways: bool) -> Pixels:
    axis = 1 if sideways else 0
    mean: Pixels = np.mean([np.roll(pixels, n, axis) for n in range(length)], axis=0)
    return mean
