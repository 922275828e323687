"""The words that a picture is paired with: whole titles, parts of them, descriptions, categories."""

from __future__ import annotations

import numpy as np

from freshlens.catalogue import Product
from training.pack import Clothing, Drawn, Grocery

_FRAMES = ("{}", "{}", "{}", "a photo of {}", "a picture of a {}", "{} in a shop", "buy {}")


def grocery_text(texts: tuple[str, str, str], rng: np.random.Generator) -> str:
    """One way to name a grocery product, from its (title, description, category)."""
    title, description, category = texts
    draw = rng.random()
    if draw < 0.55:
        return framed(title, rng)
    if draw < 0.7:
        return framed(f"{title}, {category}", rng)
    if draw < 0.85:
        return description.split(". ")[0]
    return description


def clothing_text(category: str, rng: np.random.Generator) -> str:
    """One way to name a garment of a category."""
    return framed(_CLOTHING[category][int(rng.integers(len(_CLOTHING[category])))], rng)


def drawn_text(item: Product, rng: np.random.Generator) -> str:
    """One way to name a drawn product; shorter ways leave out shape or second colour."""
    draw = rng.random()
    if draw < 0.45:
        return framed(item.title.lower(), rng)
    if draw < 0.6:
        return item.description
    pattern = "" if item.pattern == "plain" else f"{item.pattern} "
    if draw < 0.85:
        return framed(f"{pattern}{item.colour} {item.category}", rng)
    return framed(f"{item.category} in {item.colour}", rng)


def wish(item: Product, rng: np.random.Generator) -> str:
    """One way to ask for this product's colour beside the picture of another of its category."""
    ways = ("{}", "in {}", "{} {}", "{1} in {0}", "{1} in {0}")
    return ways[int(rng.integers(len(ways)))].format(item.colour, item.category)


def framed(text: str, rng: np.random.Generator) -> str:
    """The text as a shopper may say it: alone, or "a photo of" it."""
    return _FRAMES[int(rng.integers(len(_FRAMES)))].format(text)


_CLOTHING = {
    "dress": ("dress", "woman's dress", "gown"),
    "hat": ("hat", "cap", "headwear"),
    "longsleeve": ("longsleeve", "long-sleeve top", "sweater", "long sleeve shirt"),
    "outwear": ("outwear", "jacket", "coat", "hoodie", "outerwear"),
    "pants": ("pants", "trousers", "jeans"),
    "shirt": ("shirt", "button-up shirt", "blouse"),
    "shoes": ("shoes", "sneakers", "footwear", "boots"),
    "shorts": ("shorts", "short trousers"),
    "skirt": ("skirt", "mini skirt"),
    "t-shirt": ("t-shirt", "tee", "short-sleeve t-shirt"),
}


def all_words(data: tuple[Grocery, Clothing, Drawn]) -> list[str]:
    """Texts that hold every word training has shown to the model."""
    grocery, _, drawn = data
    said = [part for texts in grocery.texts for part in texts]
    said += [name for names in _CLOTHING.values() for name in names]
    said += [text for item in drawn.products for text in (item.title.lower(), item.description, item.category)]
    return said + [frame.format("") for frame in _FRAMES]
