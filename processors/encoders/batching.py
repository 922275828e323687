"""How many items go into the next call of the model: by predicted time, not by count. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

BATCH_SECONDS_MAX = 0.060
ITEMS_MAX = 512
FIRST_ITEMS = 4
RECOVERY_CALLS = 32
"""After so many calls without trouble a batch that was halved for want of memory may be twice as large again."""
_SMALLER_COST_MAX = 1.1
"""A smaller batch may cost so much more per item: what is urgent comes behind the call that has begun."""
_NEWEST_SHARE = 0.3
_FADING = 0.998


def bucket(items: int) -> int:
    """The smallest power of two that holds so many items: batches of one bucket take the same shape and time."""
    assert items >= 1, items
    return 1 << (items - 1).bit_length()


@dataclass(frozen=True, slots=True)
class BatchTimes:
    """What calls of the model were seen to take, and how large a call may be.

    ``item_seconds`` is a moving average per item and bucket, overhead included. A larger batch is not always a
    cheaper one: on a processor it leaves the caches at some size. A size that was not tried is taken to be as good as
    the next smaller one, and what was not tried lately fades towards the best of all, so that one slow call condemns no
    size for ever. ``items_max`` is what the memory holds.
    """

    item_seconds: Mapping[int, float] = field(default_factory=dict)
    items_max: int = ITEMS_MAX
    calls_at_max: int = 0

    def after(self, items: int, seconds: float) -> "BatchTimes":
        """The estimates after one more call."""
        size, seen = bucket(items), max(seconds, 1e-6) / items
        before = self.item_seconds.get(size, seen)
        floor = min(self.item_seconds.values(), default=seen)
        faded = {other: max(floor, known * _FADING) for other, known in self.item_seconds.items()}
        average = (1 - _NEWEST_SHARE) * before + _NEWEST_SHARE * seen
        return replace(self, item_seconds={**faded, size: average})._recovering()

    def after_out_of_memory(self, items: int) -> "BatchTimes":
        """A call with so many items did not fit into memory: at most half as many from now on."""
        return replace(self, items_max=max(1, bucket(items) // 2), calls_at_max=0)

    @property
    def full(self) -> int:
        """The size worth waiting for: the smallest that is about as quick per item as any that fits into 60 ms."""
        if not self.item_seconds:
            return min(FIRST_ITEMS, self.items_max)
        best, best_seconds = 1, self._predicted(1)
        size = 2
        while size <= self.items_max and size * (seconds := self._predicted(size)) <= BATCH_SECONDS_MAX:
            if seconds <= best_seconds:
                best, best_seconds = size, seconds
            size *= 2
        if best not in self.item_seconds:
            return best  # to see how quick it is
        return min(
            size
            for size, seconds in self.item_seconds.items()
            if size <= best and seconds <= _SMALLER_COST_MAX * best_seconds
        )

    def cut(self, waiting: int) -> int:
        """How many of the waiting items to take now: at least one, at most what fits into 60 ms."""
        assert waiting >= 1, waiting
        return min(waiting, self.full)

    def _predicted(self, size: int) -> float:
        smaller = [known for known in self.item_seconds if known <= size]
        return self.item_seconds[max(smaller) if smaller else min(self.item_seconds)]

    def _recovering(self) -> "BatchTimes":
        if self.items_max >= ITEMS_MAX:
            return self
        if self.calls_at_max + 1 < RECOVERY_CALLS:
            return replace(self, calls_at_max=self.calls_at_max + 1)
        return replace(self, items_max=2 * self.items_max, calls_at_max=0)
