"""Look-alikes are the nearest others by what was embedded last."""

import numpy as np
import torch

from training.losses import Memory
from training.mining import LookAlikes


def _remembering(*points: tuple[int, float]) -> LookAlikes:
    """Products on a circle at some angle; later ones are newer."""
    memory = Memory(16, 2)
    for owner, angle in points:
        at = torch.tensor(angle)
        memory.keep(torch.stack([at.cos(), at.sin()])[None], torch.tensor([owner]))
    return LookAlikes(memory)


def test_the_most_alike_come_first_and_only_from_those_asked_among() -> None:
    known = _remembering((4, 0.0), (5, 0.3), (6, 0.1), (7, 0.2))
    assert known.of(4, np.array([4, 5, 7]), 3) == [7, 5]
    assert known.of(4, np.arange(10), 2) == [6, 7]


def test_the_newest_embedding_counts() -> None:
    known = _remembering((1, 0.0), (2, 0.1), (3, 0.2), (2, 3.0))
    assert known.of(1, np.arange(10), 1) == [3]


def test_what_is_not_remembered_has_no_look_alikes() -> None:
    assert _remembering((1, 0.0)).of(9, np.arange(10), 3) == []
    assert _remembering((1, 0.0)).of(1, np.arange(10), 3) == []
    assert LookAlikes(Memory(4, 2)).of(1, np.arange(10), 3) == []
