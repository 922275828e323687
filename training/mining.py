"""Hard negatives: what the model confuses stands side by side in a batch, so that it learns what tells it apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.losses import Memory


class LookAlikes:
    """Who is like whom, by the newest remembered embedding of each product."""

    def __init__(self, remembered: Memory) -> None:
        self._owners, newest = np.unique(remembered.owners.numpy(), return_index=True)
        self._points = remembered.points.numpy()[newest]

    def of(self, product: int, among: NDArray[np.int64], count: int) -> list[int]:
        """The `count` products `among` others that are most like this one, the most alike first.

        Fewer where fewer are remembered, and none where it is not remembered itself. Drawn products differ by what
        they were drawn from, so the most alike of others are no false negatives.
        """
        place = int(np.searchsorted(self._owners, product))
        if place == len(self._owners) or self._owners[place] != product:
            return []
        others = np.flatnonzero(np.isin(self._owners, among) & (self._owners != product))
        alike = np.argsort(-(self._points[others] @ self._points[place]), kind="stable")[:count]
        found: list[int] = self._owners[others[alike]].tolist()
        return found
