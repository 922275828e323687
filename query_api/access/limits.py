"""How much a key may ask for, and how much a process takes on. Pure: the caller says what time it is."""

import math
from dataclasses import dataclass, field

from query_api.access.api_keys import ApiKey
from schemas.errors import Overloaded, QuotaUsed, RateLimited

_DAY_US = 86_400_000_000
_ROUNDING = 1e-9
"""Who comes again after exactly the time that was said is let in."""


@dataclass(slots=True)
class TokenBucket:
    """A rate with room for the bursts of one second (at least one request).

    Attributes:
        rate_per_s: tokens that come in a second.
        tokens: those there were at ``at_s``; never more than :attr:`room`.
    """

    rate_per_s: float
    tokens: float = field(init=False)
    at_s: float = field(default=-math.inf, init=False)

    def __post_init__(self) -> None:
        self.tokens = self.room

    @property
    def room(self) -> float:
        """The most that can be saved up."""
        return max(1.0, self.rate_per_s)

    def take(self, now_s: float) -> float:
        """Take a token and return 0; or, if there is none, the seconds until there will be."""
        if now_s > self.at_s:
            self.tokens = min(self.room, self.tokens + (now_s - self.at_s) * self.rate_per_s)
            self.at_s = now_s
        if self.tokens >= 1 - _ROUNDING:
            self.tokens = max(0.0, self.tokens - 1)
            return 0.0
        return (1 - self.tokens) / self.rate_per_s


@dataclass(slots=True)
class DailyQuota:
    """So many requests in a day of UTC."""

    per_day: int
    day: int = -1
    used: int = 0

    def take(self, now_us: int) -> float:
        """Use one up and return 0; or, if all are used, the seconds until midnight UTC."""
        day = now_us // _DAY_US
        if day > self.day:
            self.day, self.used = day, 0
        if self.used < self.per_day:
            self.used += 1
            return 0.0
        return ((self.day + 1) * _DAY_US - now_us) / 1_000_000


class KeyLimits:
    """The rates and quotas of all keys, as this process has seen them since its start."""

    def __init__(self) -> None:
        self._buckets: dict[str, TokenBucket] = {}
        self._quotas: dict[str, DailyQuota] = {}

    def take(self, key: ApiKey, *, now_s: float, now_us: int) -> None:
        """Count one request of a key; one refused by its rate uses up no quota.

        Raises:
            RateLimited, QuotaUsed: with the time after which it may come again.
        """
        if key.rate_per_s is not None:
            bucket = self._buckets.setdefault(key.id, TokenBucket(key.rate_per_s))
            if wait_s := bucket.take(now_s):
                raise RateLimited(f"this key may send {key.rate_per_s:g} requests a second", retry_after_s=wait_s)
        if key.quota_per_day is not None:
            quota = self._quotas.setdefault(key.id, DailyQuota(key.quota_per_day))
            if wait_s := quota.take(now_us):
                said = f"this key may send {key.quota_per_day} requests a day, and the next day begins at midnight UTC"
                raise QuotaUsed(said, retry_after_s=wait_s)


class InHand:
    """The requests that a process works on. What is more is refused at once: waiting would make all of them late.

    One for each scope: those who publish wait for Kafka, and while it is away those who search need not.

    A context manager around the work on one request, which raises Overloaded.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.count = 0

    def __enter__(self) -> None:
        if self.count >= self._most:
            raise Overloaded(f"{self._most} requests are in hand; come again in a moment")
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.count -= 1
