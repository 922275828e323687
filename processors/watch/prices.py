"""Prices that do not belong: far from the median of their category, measured in deviations of that category. Pure."""

from collections.abc import Sequence
from math import log, log1p
from statistics import median

import msgspec

PRICES_MAX = 256
PRICES_MIN = 30
DEVIATIONS_MAX = 6.0
_MAD_TO_SIGMA = 1.4826
_SPREAD_MIN = log(1.25)
"""Prices of a category that are all alike still differ by a quarter without being outliers for it."""
_SETTLE_EVERY = 16


class Prices(msgspec.Struct):
    """The newest prices of one category on a logarithmic scale, and their median and spread, settled now and then."""

    newest: list[float] = []
    place: int = 0
    middle: float = 0.0
    spread: float = _SPREAD_MIN

    def is_outlier(self, price: float) -> bool:
        """Whether the price is far from the others; False while too few are known. Then the price is one of them.

        A price that came to stay is normal once half of the newest are like it.
        """
        value = log1p(price)
        is_outlier = len(self.newest) >= PRICES_MIN and abs(value - self.middle) > DEVIATIONS_MAX * self.spread
        self._take(value)
        return is_outlier

    def _take(self, value: float) -> None:
        if len(self.newest) < PRICES_MAX:
            self.newest.append(value)
        else:
            self.newest[self.place % PRICES_MAX] = value
        self.place += 1
        if self.place % _SETTLE_EVERY == 0:
            self.middle, self.spread = middle_and_spread(self.newest)


def middle_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Median, and the robust deviation around it: the median absolute deviation, scaled to a normal one."""
    middle = median(values)
    return middle, max(_SPREAD_MIN, _MAD_TO_SIGMA * median(abs(value - middle) for value in values))
