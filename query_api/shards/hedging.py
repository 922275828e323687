"""When a second replica is asked: after what nearly all answers of the first have taken, and not too often."""

from collections import deque

_SAMPLES, _SAMPLES_MIN = 100, 20
_SHARE = 0.95
_LEAST_S = 0.002
"""A hedge sooner than this would race the network's own jitter."""
_PER_REQUEST, _SAVED_MAX = 0.1, 10.0
"""One request in ten may be doubled: when all replicas are slow, twice the load makes them slower."""


class Hedges:
    """How long each node takes, and how many hedges may still be sent."""

    def __init__(self) -> None:
        self._taken: dict[str, deque[float]] = {}
        self._after: dict[str, float] = {}
        self._tokens = _SAVED_MAX

    def took(self, node_id: str, seconds: float) -> None:
        """The node answered, or was given up, after so long."""
        taken = self._taken.setdefault(node_id, deque(maxlen=_SAMPLES))
        taken.append(seconds)
        if len(taken) >= _SAMPLES_MIN:
            place = int(_SHARE * len(taken))
            self._after[node_id] = max(_LEAST_S, sorted(taken)[min(place, len(taken) - 1)])

    def after_s(self, node_id: str) -> float | None:
        """How long to wait for this node before asking another; None while nobody knows how long it takes."""
        self._tokens = min(_SAVED_MAX, self._tokens + _PER_REQUEST)
        return self._after.get(node_id)

    def take(self) -> bool:
        """Whether one more request may be doubled; counts it."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
