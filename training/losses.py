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


class Memory:
    """The newest embeddings of one kind of picture, and whose they are: wrong answers beyond those of one batch.

    They were made by a slightly older model, which does no harm (cross-batch memory, Wang et al. 2020).
    """

    def __init__(self, size: int, width: int) -> None:
        self._size = size
        self.points, self.owners = torch.empty(0, width), torch.empty(0, dtype=torch.int64)

    def keep(self, embeddings: Tensor, owners: Tensor) -> None:
        """Add a batch; the oldest go."""
        self.points = torch.cat([embeddings.detach(), self.points])[: self._size]
        self.owners = torch.cat([owners, self.owners])[: self._size]


def view_loss(first: Tensor, second: Tensor, owners: Tensor, others: Memory, scale: float = 30.0) -> Tensor:
    """InfoNCE: row i of `first` belongs to row i of `second`, and to none of `others` but its own product's."""
    remembered = scale * first @ others.points.T
    remembered = remembered.masked_fill(owners[:, None] == others.owners[None, :], -torch.inf)
    logits = torch.cat([scale * first @ second.T, remembered], dim=1)
    return fn.cross_entropy(logits, torch.arange(len(first)))


def found_loss(photos: Tensor, labels: Tensor, studio: Memory, crowd: Memory, scale: float = 20.0) -> Tensor:
    """What is nearest to each photo in a shop should be a studio picture of its product: what searches will ask.

    Args:
        photos: or pictures with words, whose answer is any product of a kind.
        labels: products, or kinds, of the photos. Photos whose product `studio` does not hold yet are passed over.
        crowd: pictures that are right for none of them.
    """
    belongs = labels[:, None] == studio.owners[None, :]
    asked = belongs.any(1)
    logits = scale * photos[asked] @ torch.cat([studio.points, crowd.points]).T
    right = torch.cat([belongs[asked], torch.zeros(int(asked.sum()), len(crowd.points), dtype=torch.bool)], dim=1)
    return _several(logits, right) if len(logits) else photos.sum() * 0.0


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
