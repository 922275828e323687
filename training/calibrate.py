"""No-match thresholds: below which cosine the best answer to an image or a text is no answer.

The rule is that of `freshlens calibrate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np

from freshlens.calibration import auroc, threshold
from training.foreign import NOTHINGS, Scores, best
from training.pack import Drawn, Grocery

Pair: TypeAlias = tuple[Scores, Scores]
Level: TypeAlias = dict[str, float]
_OTHERS = 1_000

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


def thresholds(encoder: Encodes, grocery: Grocery, drawn: Drawn, pictures: Mapping[str, Pair]) -> dict[str, Level]:
    """Per modality: cosine, share of good queries turned down, share of foreign ones turned down, AUROC.

    Args:
        pictures: of known and of foreign pictures the best cosines, by kind (`training.foreign.scored`). Those
            without any product decide; a photo of another product of the same sort is for a catalogue to judge.
    """
    known = np.concatenate([pictures[kind][0] for kind in NOTHINGS])
    foreign = np.concatenate([pictures[kind][1] for kind in NOTHINGS])
    others = np.arange(min(_OTHERS, len(drawn.products)))
    listed = np.union1d(others, drawn.photographed)
    catalogue = np.concatenate([encoder.images(drawn.studio[listed]), encoder.images(grocery.studio)])
    titles = [drawn.products[number].title for number in drawn.photographed[:500]] + [
        title for title, _, _ in grocery.texts
    ]
    asked, unrelated = encoder.texts(titles), encoder.texts(list(UNRELATED_TEXTS))
    return {"image": _level(known, foreign), "text": _level(best(asked, catalogue), best(unrelated, catalogue))}


def _level(known: Scores, foreign: Scores) -> Level:
    at = threshold(known, foreign)
    return {
        "cosine_min": round(at, 4),
        "false_reject_rate": round(float((known < at).mean()), 4),
        "foreign_refused_rate": round(float((foreign < at).mean()), 4),
        "auroc": round(auroc(known, foreign), 4),
    }
