"""The training pictures as arrays: everything decoded once, so that an epoch costs no decoding.

Sources: drawn products (any number) and, where a folder is given, real photos of groceries and clothes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from freshlens.catalogue import Product, draw, draw_cutout, phone_photo, product

PIXELS = 160
"""Side of every stored picture, as served; pictures are squashed to a square, as the model's preprocessing does."""
PHONE_PHOTOS_PER_STUDIO_PICTURE = 6


@dataclass(frozen=True)
class Photos:
    """(n, PIXELS, PIXELS, 3) uint8 pictures, and for each the class it belongs to."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Grocery:
    """Studio picture number c shows class c; `texts[c]` are its title, description and category."""

    studio: NDArray[np.uint8]
    texts: list[tuple[str, str, str]]
    train: Photos
    staged: Photos
    val: Photos


@dataclass(frozen=True)
class Clothing:
    """Garments by category."""

    names: list[str]
    train: Photos
    validation: Photos


@dataclass(frozen=True)
class Drawn:
    """Drawn products: studio picture i shows product i, phone photos (j, k) product `photographed[j]`."""

    products: list[Product]
    studio: NDArray[np.uint8]
    phone: NDArray[np.uint8]
    photographed: NDArray[np.int64]


def load_grocery(datasets: Path) -> Grocery:
    """The grocery photos below `datasets`.

    Raises:
        FileNotFoundError: the folder has no grocery data; point FRESHLENS_DATASETS elsewhere.
    """
    folder = datasets / "grocery"
    items = list(_lines(folder / "products.jsonl"))
    number = {item["product_id"]: place for place, item in enumerate(items)}
    photos = list(_lines(folder / "photos.jsonl"))
    studio = _stack(folder, [item["image"] for item in items])

    def split(name: str) -> Photos:
        rows = [photo for photo in photos if photo["split"] == name]
        labels = np.array([number[photo["product_id"]] for photo in rows])
        return Photos(_stack(folder, [photo["image"] for photo in rows]), labels)

    texts = [(item["title"], item["description"], item["category"]) for item in items]
    return Grocery(studio, texts, split("train"), _staged(studio), split("val"))


def _staged(studio: NDArray[np.uint8]) -> Photos:
    """Phone photos made from the studio pictures."""
    rng = np.random.default_rng(11)
    labels = np.repeat(np.arange(len(studio)), PHONE_PHOTOS_PER_STUDIO_PICTURE)
    made = [phone_photo(Image.fromarray(studio[c]), rng, 0.5 * rng.random(), PIXELS) for c in labels]
    return Photos(np.stack([np.asarray(image) for image in made]), labels)


def load_clothing(datasets: Path) -> Clothing:
    """The clothing photos below `datasets`. Raises FileNotFoundError as `load_grocery` does."""
    folder = datasets / "clothing"
    items = list(_lines(folder / "products.jsonl"))
    names = sorted({item["category"] for item in items})

    def split(name: str) -> Photos:
        rows = [item for item in items if item["split"] == name]
        labels = np.array([names.index(item["category"]) for item in rows])
        return Photos(_stack(folder, [item["image"] for item in rows]), labels)

    return Clothing(names, split("train"), split("validation"))


def draw_products(count: int, seed: int, photos_each: int = 2, photograph_every: int = 1) -> Drawn:
    """`count` drawn products of the catalogue `seed`; every n-th of them also as phone photos."""
    products = [product(number, seed) for number in range(count)]
    studio = np.empty((count, PIXELS, PIXELS, 3), np.uint8)
    for place, item in enumerate(products):
        studio[place] = np.asarray(draw(item, PIXELS))
    photographed = np.arange(0, count, photograph_every)
    phone = np.empty((len(photographed), photos_each, PIXELS, PIXELS, 3), np.uint8)
    for place, number in enumerate(photographed):
        rng = np.random.default_rng((products[number].look, 99))
        for shot in range(photos_each):
            cutout = draw_cutout(products[number], PIXELS, view=shot)
            phone[place, shot] = np.asarray(phone_photo(cutout, rng, float(rng.uniform(0.1, 0.9)), PIXELS))
    return Drawn(products, studio, phone, photographed)


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        for row in file:
            yield json.loads(row)


def _stack(folder: Path, names: list[str]) -> NDArray[np.uint8]:
    images = np.empty((len(names), PIXELS, PIXELS, 3), np.uint8)
    for place, name in enumerate(names):
        with Image.open(folder / name) as image:
            images[place] = squash(image)
    return images


def squash(image: Image.Image, side: int = PIXELS) -> NDArray[np.uint8]:
    """The whole picture in a square of `side` pixels, aspect ratio not kept."""
    return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
