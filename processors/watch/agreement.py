"""Do a product's pictures and its text speak of the same thing? Pure.

The cosine of a picture and a text in the joint space says nothing by itself: how large it is depends on the model and
on the catalogue. So two distributions are followed as products come by: the cosine with the product's own text, and
with the text of another product. The score is where between them a product lies.
"""

from collections import deque
from math import sqrt, tanh
from random import Random

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.events import Content

Vector = npt.NDArray[np.float32]
PRODUCTS_MIN = 200
"""Scores begin when so many products were seen."""
_MEMORY = 2_000
_OTHERS = 64


class Moments(msgspec.Struct):
    """Running mean and variance, of the newest two thousand or so."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        share = 1 / min(self.count, _MEMORY)
        apart = value - self.mean
        self.mean += share * apart
        self.variance = (1 - share) * (self.variance + share * apart * apart)


class Calibration(msgspec.Struct):
    """What cosines are usual, with a product's own text and with another's."""

    own: Moments = msgspec.field(default_factory=Moments)
    others: Moments = msgspec.field(default_factory=Moments)

    def score(self, cosine: float) -> float | None:
        """-1 to 1: below 0 the text could as well be another product's; None while that cannot be told.

        With both distributions taken as normal and equally wide, the odds that the text is the product's own are
        exp(x); the score is the difference of both chances, tanh(x / 2).
        """
        apart = self.own.mean - self.others.mean
        variance = (self.own.variance + self.others.variance) / 2
        if self.own.count < PRODUCTS_MIN or apart <= 0 or variance <= 0:
            return None
        return tanh(apart / variance * (cosine - (self.own.mean + self.others.mean) / 2) / 2)

    @property
    def distance(self) -> float:
        """How far apart the two lie, in deviations: below 1 the model hardly tells a text from another's."""
        variance = (self.own.variance + self.others.variance) / 2
        return (self.own.mean - self.others.mean) / sqrt(variance) if variance > 0 else 0.0


class Agreement:
    """Scores products one after another and learns from each; keep one per model."""

    def __init__(self, calibration: Calibration | None = None) -> None:
        self.calibration = calibration or Calibration()
        self._chance = Random(0)
        self._texts: deque[tuple[str, Vector]] = deque(maxlen=_OTHERS)

    def score(self, pictures: Vector, text: str, text_vector: Vector) -> float | None:
        """The score of one product.

        Args:
            pictures: (n, dim), rows of unit norm, n at least 1; the one that fits best counts.
            text: what was encoded; another product with the very same text is no stranger.
            text_vector: (dim,) of unit norm.
        """
        cosine = float((pictures @ text_vector).max())
        found = self.calibration.score(cosine)
        other = self._other(text)
        if other is not None:
            self.calibration.own.add(cosine)
            self.calibration.others.add(float((pictures @ other).max()))
        self._texts.append((text, text_vector))
        return found

    def _other(self, text: str) -> Vector | None:
        """A text by chance of those remembered: neighbours in a catalogue are often alike, and so is every tenth."""
        others = [vector for other, vector in self._texts if other != text]
        return self._chance.choice(others) if others else None


def text_to_compare(content: Content) -> str | None:
    """What a product's text says it is: its title, and its category where it has one."""
    category = content.attributes.get("category")
    named = category if isinstance(category, str) else ""
    return " ".join(part for part in (content.title, named) if part) or None
