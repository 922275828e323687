"""Figures of an encoder on the validation photos and on drawn products that it has never seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from freshlens.evaluation import mean_reciprocal_rank, precision_at, ranked_hits, recall_at
from training.pack import Clothing, Drawn, Grocery

Encode: TypeAlias = Callable[[Any], Any]
"""(n, side, side, 3) uint8 to (n, width) float32 of unit norm."""
EncodeTexts: TypeAlias = Callable[[list[str]], Any]


def quick_figures(encode: Encode, grocery: Grocery, clothing: Clothing) -> dict[str, float]:
    """The figures that a run is watched by."""
    return {**grocery_figures(encode, grocery), **clothing_figures(encode, clothing)}


def grocery_figures(encode: Encode, grocery: Grocery) -> dict[str, float]:
    """Phone photo to studio picture, among the 81."""
    labels = np.arange(len(grocery.studio))
    hits = ranked_hits(encode(grocery.val.images), grocery.val.labels, encode(grocery.studio), labels, len(labels))
    return {
        "grocery_recall_1": recall_at(hits, 1),
        "grocery_recall_5": recall_at(hits, 5),
        "grocery_recall_10": recall_at(hits, 10),
        "grocery_mrr": mean_reciprocal_rank(hits),
    }


def clothing_figures(encode: Encode, clothing: Clothing) -> dict[str, float]:
    """Same category among the five nearest other validation photos."""
    vectors, labels = encode(clothing.validation.images), clothing.validation.labels
    hits = ranked_hits(vectors, labels, vectors, labels, 6)[:, 1:]
    return {"clothing_precision_5": precision_at(hits, 5)}


def crowded_figures(encode: Encode, grocery: Grocery, clothing: Clothing) -> dict[str, float]:
    """Phone photo to studio picture, among those and every garment."""
    garments = np.concatenate([clothing.train.images, clothing.validation.images])
    catalogue = np.concatenate([encode(grocery.studio), encode(garments)])
    labels = np.concatenate([np.arange(len(grocery.studio)), np.full(len(garments), -1)])
    hits = ranked_hits(encode(grocery.val.images), grocery.val.labels, catalogue, labels, 10)
    return {"crowded_recall_1": recall_at(hits, 1), "crowded_recall_5": recall_at(hits, 5)}


def clothing_against_train(encode: Encode, clothing: Clothing) -> dict[str, float]:
    """Same category among the five nearest training photos."""
    train, val = clothing.train, clothing.validation
    hits = ranked_hits(encode(val.images), val.labels, encode(train.images), train.labels, 5)
    return {"clothing_train_precision_5": precision_at(hits, 5)}


def text_figures(encode: Encode, texts: EncodeTexts, grocery: Grocery, drawn: Drawn) -> dict[str, float]:
    """Title to studio picture: groceries among the 81, drawn products among all drawn."""
    labels = np.arange(len(grocery.studio))
    titles = [f"{title} {category}" for title, _, category in grocery.texts]
    hits = ranked_hits(texts(titles), labels, encode(grocery.studio), labels, 5)
    everything = np.arange(len(drawn.products))
    asked = everything[:: max(1, len(everything) // 500)]
    drawn_hits = ranked_hits(
        texts([drawn.products[i].title for i in asked]), asked, encode(drawn.studio), everything, 10
    )
    return {
        "text_grocery_recall_5": recall_at(hits, 5),
        "text_drawn_recall_1": recall_at(drawn_hits, 1),
        "text_drawn_recall_10": recall_at(drawn_hits, 10),
    }


def drawn_figures(encode: Encode, drawn: Drawn) -> dict[str, float]:
    """Phone photo to its product among all drawn ones."""
    labels = np.arange(len(drawn.products))
    hits = ranked_hits(encode(drawn.phone[:, 0]), drawn.photographed, encode(drawn.studio), labels, 5)
    return {"drawn_recall_1": recall_at(hits, 1), "drawn_recall_5": recall_at(hits, 5)}
