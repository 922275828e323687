"""What training minimises. Embeddings are rows of unit norm."""

from __future__ import annotations

import torch
import torch.nn.functional as fn
from torch import Tensor, nn


class Prototypes(nn.Module):
    """One learned unit vector per class; the loss pulls pictures to theirs and away from the others'.

    Every picture of a class, studio or phone, is pulled to one point, which is how a phone photo comes to
    lie beside the studio picture.
    """

    def __init__(self, classes: int, width: int, scale: float = 16.0) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.randn(classes, width))
        self._scale = scale

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy with smoothed labels."""
        logits = self._scale * embeddings @ fn.normalize(self.points, dim=-1).T
        return fn.cross_entropy(logits, labels, label_smoothing=0.1)


def view_loss(first: Tensor, second: Tensor, scale: float = 16.0) -> Tensor:
    """InfoNCE both ways: row i of either side belongs to row i of the other."""
    logits = scale * first @ second.T
    target = torch.arange(len(first))
    return (fn.cross_entropy(logits, target) + fn.cross_entropy(logits.T, target)) / 2


def text_loss(images: Tensor, texts: Tensor, belongs: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE both ways with several right answers; `belongs` (images, texts) is True where a pair fits."""
    logits = scale * images @ texts.T
    return (_several(logits, belongs) + _several(logits.T, belongs.T)) / 2


def _several(logits: Tensor, belongs: Tensor) -> Tensor:
    weight = belongs.float() / belongs.sum(1, keepdim=True).clamp(min=1)
    return -(weight * fn.log_softmax(logits, dim=1)).sum(1).mean()


def spread(embeddings: Tensor) -> float:
    """Mean standard deviation over dimensions, times the root of their number: near 0 is a collapse, 1 is even."""
    return float(embeddings.std(0).mean() * embeddings.shape[1] ** 0.5)
