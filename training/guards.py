"""What stops a training run that has come to nothing, rather than let it write a model."""

from __future__ import annotations

import torch
import torch.nn.functional as fn
from torch import Tensor

from training.losses import spread

NORM_MIN, NORM_MAX = 1e-4, 1e4
SPREAD_MIN = 0.05
"""Of 1, which is even; 0.05 is a mean cosine of 0.9975 between any two things."""
PATIENCE_STEPS = 20
"""An untrained model may begin below it: only so many steps in a row are a collapse."""


class Collapsed(Exception):
    """Every embedding has become the same, or none at all. Lower the learning rate, or begin from other weights."""


class CollapseGuard:
    """Sees the embeddings of every step; one guard for each tower."""

    def __init__(self, name: str, patience_steps: int = PATIENCE_STEPS) -> None:
        self._name, self._patience, self._narrow = name, patience_steps, 0

    def see(self, embeddings: Tensor) -> float:
        """The spread of (n, dim) embeddings as the tower gives them, not normalised; n >= 2.

        Raises:
            Collapsed: a value that is not finite, norms that vanish or explode, or too little spread for too long.
        """
        seen = embeddings.detach().float()
        if not torch.isfinite(seen).all():
            raise Collapsed(f"{self._name}: an embedding is not finite")
        norm = float(seen.norm(dim=-1).mean())
        if not NORM_MIN <= norm <= NORM_MAX:
            raise Collapsed(f"{self._name}: the mean norm is {norm:.3g}, outside {NORM_MIN:g} to {NORM_MAX:g}")
        width = spread(fn.normalize(seen, dim=-1))
        self._narrow = self._narrow + 1 if width < SPREAD_MIN else 0
        if self._narrow >= self._patience:
            raise Collapsed(f"{self._name}: the spread is {width:.3g}, below {SPREAD_MIN:g} for {self._narrow} steps")
        return width
