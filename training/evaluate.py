"""Figures of an encoder on the validation photos and on drawn products that it has never seen, each with its interval.

Labels say what is right; everything is searched exactly. An interval holds 95 % of bootstrap resamplings of queries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from freshlens.catalogue import Product
from freshlens.evaluation import Hits, Interval, bootstrap, mean_average_precision, ranked_hits
from training.pack import Clothing, Drawn, Grocery

Encode: TypeAlias = Callable[[Any], Any]
"""(n, side, side, 3) uint8 to (n, width) float32 of unit norm."""
EncodeTexts: TypeAlias = Callable[[list[str]], Any]
Figures: TypeAlias = dict[str, Interval]
_TAIL_CLASSES = 27
"""A third of the grocery products: those with the fewest photos to learn from."""
_COMPOSED_QUERIES = 500
_TEXT_WEIGHT = 0.5


def quick_figures(encode: Encode, grocery: Grocery, clothing: Clothing) -> dict[str, float]:
    """The figures that a run is watched by."""
    figures = {**grocery_figures(encode, grocery), **clothing_figures(encode, clothing)}
    return {name: figure.mean for name, figure in figures.items()}


def image_figures(encode: Encode, grocery: Grocery, clothing: Clothing, drawn: Drawn) -> Figures:
    """Every figure that needs no text, so that baselines have it too."""
    return {
        **grocery_figures(encode, grocery),
        **tail_figures(encode, grocery),
        **crowded_figures(encode, grocery, clothing),
        **clothing_figures(encode, clothing),
        **clothing_train_figures(encode, clothing),
        **drawn_figures(encode, drawn),
    }


def grocery_figures(encode: Encode, grocery: Grocery) -> Figures:
    """Phone photo to studio picture, among the 81."""
    hits = grocery_hits(encode, grocery, grocery.val.images, grocery.val.labels)
    ranks = np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0)
    return {**_recalls("grocery", hits, (1, 5, 10)), "grocery_mrr": bootstrap(ranks)}


def grocery_hits(encode: Encode, grocery: Grocery, photos: Any, products: NDArray[np.int64]) -> Hits:
    """(photos, 81) booleans: is the studio picture at this rank that of the photo's product?"""
    labels = np.arange(len(grocery.studio))
    return ranked_hits(encode(photos), products, encode(grocery.studio), labels, len(labels))


def tail_figures(encode: Encode, grocery: Grocery) -> Figures:
    """The same for photos of the products with the fewest photos to learn from."""
    seen = np.bincount(grocery.train.labels, minlength=len(grocery.studio))
    rare = np.isin(grocery.val.labels, np.argsort(seen, kind="stable")[:_TAIL_CLASSES])
    hits = grocery_hits(encode, grocery, grocery.val.images[rare], grocery.val.labels[rare])
    return _recalls("grocery_tail", hits, (1, 5))


def by_product(encode: Encode, grocery: Grocery) -> dict[str, float]:
    """Recall@5 of each grocery product by its title, the worst first."""
    hits = grocery_hits(encode, grocery, grocery.val.images, grocery.val.labels)
    found: Hits = np.asarray(hits[:, :5].any(axis=1))
    recalls = {
        grocery.texts[label][0]: float(found[grocery.val.labels == label].mean())
        for label in np.unique(grocery.val.labels)
    }
    return dict(sorted(recalls.items(), key=lambda item: item[1]))


def clothing_figures(encode: Encode, clothing: Clothing) -> Figures:
    """Same category among the nearest other validation photos: precision of five, and average precision of all."""
    vectors, labels = encode(clothing.validation.images), clothing.validation.labels
    hits = ranked_hits(vectors, labels, vectors, labels, len(labels))[:, 1:]
    return {
        "clothing_precision_5": bootstrap(hits[:, :5].mean(axis=1)),
        "clothing_map": bootstrap([mean_average_precision(hits[row : row + 1]) for row in range(len(hits))]),
    }


def clothing_train_figures(encode: Encode, clothing: Clothing) -> Figures:
    """The same among the photos that were learned from."""
    vectors, labels = encode(clothing.validation.images), clothing.validation.labels
    hits = ranked_hits(vectors, labels, encode(clothing.train.images), clothing.train.labels, 5)
    return {"clothing_train_precision_5": bootstrap(hits.mean(axis=1))}


def crowded_figures(encode: Encode, grocery: Grocery, clothing: Clothing) -> Figures:
    """Phone photo to studio picture, among those and every garment."""
    garments = np.concatenate([encode(clothing.train.images), encode(clothing.validation.images)])
    catalogue = np.concatenate([encode(grocery.studio), garments])
    labels = np.concatenate([np.arange(len(grocery.studio)), np.full(len(garments), -1)])
    return _recalls(
        "crowded", ranked_hits(encode(grocery.val.images), grocery.val.labels, catalogue, labels, 10), (1, 5)
    )


def text_figures(encode: Encode, texts: EncodeTexts, grocery: Grocery, drawn: Drawn) -> Figures:
    """Title to studio picture: groceries among the 81, drawn products among all drawn; and image with text."""
    labels = np.arange(len(grocery.studio))
    titles = [f"{title} {category}" for title, _, category in grocery.texts]
    found = ranked_hits(texts(titles), labels, encode(grocery.studio), labels, 5)
    everything = np.arange(len(drawn.products))
    asked = everything[:: max(1, len(everything) // 500)]
    said = texts([drawn.products[i].title for i in asked])
    return {
        **_recalls("text_grocery", found, (5,)),
        **_recalls("text_drawn", ranked_hits(said, asked, encode(drawn.studio), everything, 10), (1, 10)),
        **composed_figures(encode, texts, drawn),
    }


def composed_figures(encode: Encode, texts: EncodeTexts, drawn: Drawn) -> Figures:
    """ "Like this, in blue": of five, how many are of the picture's category and of the colour that was asked for."""
    rng = np.random.default_rng(3)
    asked = rng.choice(len(drawn.products), min(_COMPOSED_QUERIES, len(drawn.products)), replace=False)
    colours = sorted({item.colour for item in drawn.products})
    wanted = [str(rng.choice([colour for colour in colours if colour != drawn.products[i].colour])) for i in asked]
    studio = encode(drawn.studio)
    said = texts([f"{drawn.products[i].category} in {colour}" for i, colour in zip(asked, wanted, strict=True)])
    queries = (1 - _TEXT_WEIGHT) * studio[asked] + _TEXT_WEIGHT * said
    best = np.argsort(-(queries @ studio.T), axis=1, kind="stable")[:, :5]
    right = [
        sum(_is_wanted(drawn.products[row], drawn.products[i].category, colour) for row in rows) / len(rows)
        for i, colour, rows in zip(asked, wanted, best, strict=True)
    ]
    return {"composed_precision_5": bootstrap(right)}


def _is_wanted(item: Product, category: str, colour: str) -> bool:
    return item.category == category and item.colour == colour


def drawn_figures(encode: Encode, drawn: Drawn) -> Figures:
    """Phone photo to its product among all drawn ones."""
    labels = np.arange(len(drawn.products))
    hits = ranked_hits(encode(drawn.phone[:, 0]), drawn.photographed, encode(drawn.studio), labels, 5)
    return _recalls("drawn", hits, (1, 5))


def _recalls(name: str, hits: Hits, depths: tuple[int, ...]) -> Figures:
    return {f"{name}_recall_{k}": bootstrap(np.asarray(hits[:, :k].any(axis=1), np.float64)) for k in depths}


def rounded(figures: Figures) -> dict[str, dict[str, float]]:
    """As they are written down: mean, low and high of each."""
    return {name: {part: round(value, 4) for part, value in asdict(each).items()} for name, each in figures.items()}
