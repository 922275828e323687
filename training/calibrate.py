"""No-match thresholds: below which cosine the best answer to an image or a text is no answer.

A threshold is the lowest cosine that turns down at least 95 % of queries for things that the catalogue does
not have, but never so high that more than 2 % of good queries are turned down: an encoder that cannot tell
foreign things apart gets a threshold that hardly ever speaks.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from training.nothing import pictures_of_nothing
from training.pack import Drawn, Grocery

_OTHERS = 1_000
_FALSE_REJECTS_MAX = 0.02
_REFUSED_WANTED = 0.95

UNRELATED_TEXTS = (
    "quarterly tax report", "how to repair a bicycle chain", "weather tomorrow in Lisbon", "asdf qwer zxcv",
    "lawn mower", "laptop computer 16 inch", "guitar strings", "dog food", "garden hose", "dishwasher",
    "airplane ticket to Tokyo", "electric drill", "violin", "printer ink cartridge", "fishing rod", "tent",
    "xkjhd", "42", "??", "Wie spät ist es?", "bitte helfen", "surfboard", "piano", "car tyres", "aquarium",
)  # fmt: skip


class Encodes(Protocol):
    """What calibration needs of an encoder."""

    def images(self, pictures: Any) -> Any:
        """(n, s, s, 3) uint8 to unit vectors."""

    def texts(self, texts: list[str]) -> Any:
        """Texts to unit vectors."""


def thresholds(encoder: Encodes, grocery: Grocery, drawn: Drawn) -> dict[str, dict[str, float]]:
    """Per modality: cosine, share of good queries turned down, share of foreign ones turned down, AUROC.

    The catalogue is about 2,000 drawn products and the 81 groceries. Foreign pictures are noise, blank ones and
    backgrounds without a product; foreign texts name what no shop here sells.
    """
    others = np.arange(min(_OTHERS, len(drawn.products)))
    listed = np.union1d(others, drawn.photographed)
    catalogue = np.concatenate([encoder.images(drawn.studio[listed]), encoder.images(grocery.studio)])

    def best(vectors: Any) -> NDArray[np.float64]:
        nearest: NDArray[np.float64] = (vectors @ catalogue.T).max(axis=1).astype(np.float64)
        return nearest

    photos = np.concatenate([best(encoder.images(drawn.phone[:, 0])), best(encoder.images(grocery.val.images))])
    titles = [drawn.products[number].title for number in drawn.photographed[:500]] + [
        title for title, _, _ in grocery.texts
    ]
    return {
        "image": _threshold(photos, best(encoder.images(pictures_of_nothing(300, np.random.default_rng(5))))),
        "text": _threshold(best(encoder.texts(titles)), best(encoder.texts(list(UNRELATED_TEXTS)))),
    }


def _threshold(known: NDArray[np.float64], foreign: NDArray[np.float64]) -> dict[str, float]:
    wanted = float(np.quantile(foreign, _REFUSED_WANTED))
    allowed = float(np.quantile(known, _FALSE_REJECTS_MAX))
    level = min(wanted, allowed)
    return {
        "cosine_min": round(level, 4),
        "false_reject_rate": round(float((known < level).mean()), 4),
        "foreign_refused_rate": round(float((foreign < level).mean()), 4),
        "auroc": round(float((known[:, None] > foreign[None, :]).mean()), 4),
    }
