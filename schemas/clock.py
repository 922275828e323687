"""Time as a value that is passed in, so that decisions can be tested without waiting."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for what is compared with the broker, monotonic time for deadlines and leases."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...


class SystemClock:
    """The machine's own clock."""

    monotonic = staticmethod(time.monotonic)  # a search asks a dozen times

    def now_us(self) -> int:
        return time.time_ns() // 1000


class ManualClock:
    """A clock that moves when told to; for tests and simulation."""

    def __init__(self, now_us: int = 1_795_000_000_000_000) -> None:
        self._now_us = now_us
        self._monotonic = 0.0

    def now_us(self) -> int:
        return self._now_us

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks forward; seconds ≥ 0."""
        assert seconds >= 0, seconds
        self._now_us += int(seconds * 1_000_000)
        self._monotonic += seconds
