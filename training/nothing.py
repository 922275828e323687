"""What no shop sells: pictures without a product and words without a meaning here.

An encoder that never saw them puts them anywhere, beside some product too, and then no threshold can tell a
foolish question from a good one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from freshlens.catalogue import clutter
from training.pack import PIXELS
from training.texts import framed

_WORD = re.compile(r"[a-z]{3,}</w>")
_WORDS_MAX = 5


def pictures_of_nothing(count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(count, PIXELS, PIXELS, 3): noise, one colour and backgrounds without a product, by turns."""
    pictures = np.empty((count, PIXELS, PIXELS, 3), np.uint8)
    for place in range(count):
        if place % 3 == 0:
            pictures[place] = np.asarray(clutter(PIXELS, rng))
        elif place % 3 == 1:
            pictures[place] = rng.integers(0, 256, 3)
        else:
            pictures[place] = rng.integers(0, 256, (PIXELS, PIXELS, 3))
    return pictures


def texts_of_nothing(count: int, strange: list[str], rng: np.random.Generator) -> list[str]:
    """One to five strange words each, some of them in the frames that products are named in."""
    said = (rng.choice(strange, rng.integers(1, _WORDS_MAX + 1)) for _ in range(count))
    return [framed(" ".join(words), rng) for words in said]


def known_tokens(tokenizer: Any, texts: Iterable[str]) -> Tensor:
    """(vocabulary,) booleans: the tokens that these texts are made of, start and end included."""
    known = torch.zeros(tokenizer.vocab_size, dtype=torch.bool)
    known[tokenizer(list(texts)).unique()] = True
    return known


def strange_words(tokenizer: Any, known: Tensor) -> list[str]:
    """Every word of the vocabulary that is one token and is not known."""
    return sorted(
        word.removesuffix("</w>")
        for word, number in tokenizer.encoder.items()
        if _WORD.fullmatch(word) and not known[number]
    )
