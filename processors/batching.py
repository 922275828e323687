"""How many items go into the next call of the model: by predicted time, not by count. Pure."""

from dataclasses import dataclass

BATCH_SECONDS_MAX = 0.060
ITEMS_MAX = 256
_NEWEST_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class BatchTimes:
    """What calls of the model were seen to take.

    ``item_seconds`` is a moving average per item, overhead included, so that it errs towards small batches.
    """

    item_seconds: float | None = None

    def after(self, items: int, seconds: float) -> "BatchTimes":
        """The estimate after one more call."""
        assert items >= 1, items
        seen = max(seconds, 1e-6) / items
        if self.item_seconds is None:
            return BatchTimes(seen)
        return BatchTimes((1 - _NEWEST_SHARE) * self.item_seconds + _NEWEST_SHARE * seen)

    def cut(self, waiting: int) -> int:
        """How many of the waiting items to take now: at least one, at most what fits into 60 ms."""
        assert waiting >= 1, waiting
        if self.item_seconds is None:
            return min(waiting, 4)
        return max(1, min(waiting, ITEMS_MAX, int(BATCH_SECONDS_MAX / self.item_seconds)))
