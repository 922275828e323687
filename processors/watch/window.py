"""What a source sent within a window, in numbers that can be added up; and what is normal for it. Pure.

A window counts, for every measure, how many of the events that could show a problem did show it. Windows of the same
source merge into the window of both, in any order; nothing in them grows with the number of events.
"""

from statistics import median

import msgspec
import numpy as np
import numpy.typing as npt

Sum = npt.NDArray[np.float64]
NORM_WINDOWS_MAX = 24
NORM_WINDOWS_MIN = 3
SPIKE_TIMES = 3.0
SPIKE_FLOOR = 0.05
"""Below five in a hundred nothing is a spike: three times next to nothing is next to nothing."""
SPIKE_EVENTS_MIN = 20
SHIFT_VECTORS_MIN = 50
SHIFT = "shift"
_CENTRE_NEWEST_SHARE = 0.2


class Tally(msgspec.Struct):
    """How many of how many."""

    bad: int = 0
    of: int = 0

    @property
    def share(self) -> float:
        return self.bad / self.of if self.of else 0.0


class Window(msgspec.Struct):
    """Counts of one source since ``began`` (microseconds); ``vectors`` unit vectors add up to ``total``."""

    began: int
    events: int = 0
    tallies: dict[str, Tally] = {}
    vectors: int = 0
    total: Sum | None = None

    def count(self, measure: str, is_bad: bool) -> None:
        """One more event that could show this problem, and whether it did."""
        tally = self.tallies.setdefault(measure, Tally())
        tally.of += 1
        tally.bad += is_bad

    def add_vector(self, vector: Sum) -> None:
        """One more vector of unit norm."""
        self.vectors += 1
        self.total = vector.copy() if self.total is None else self.total + vector

    def merged(self, other: "Window") -> "Window":
        """The window of both."""
        both = Window(min(self.began, other.began), self.events + other.events)
        for window in (self, other):
            for measure, tally in window.tallies.items():
                known = both.tallies.setdefault(measure, Tally())
                known.bad += tally.bad
                known.of += tally.of
            both.vectors += window.vectors
            if window.total is not None:
                both.total = window.total.copy() if both.total is None else both.total + window.total
        return both


class Norm(msgspec.Struct):
    """What is normal for one source: its newest closed windows, and the centre of its vectors."""

    shares: dict[str, list[float]] = {}
    centre: Sum | None = None

    def of(self, measure: str) -> float | None:
        """The median share of the newest windows; None while there are too few to tell."""
        known = self.shares.get(measure, [])
        return median(known) if len(known) >= NORM_WINDOWS_MIN else None

    def after(self, window: Window) -> "Norm":
        """The norm once this window is closed. One bad window of many moves a median little, a lasting change all."""
        shares = {measure: list(known) for measure, known in self.shares.items()}
        for measure, (value, _) in values(window, self).items():
            shares[measure] = [*shares.get(measure, []), value][-NORM_WINDOWS_MAX:]
        return Norm(shares, self._centre_after(window))

    def _centre_after(self, window: Window) -> Sum | None:
        if window.total is None:
            return self.centre
        mean = window.total / window.vectors
        if self.centre is None:
            return mean
        return (1 - _CENTRE_NEWEST_SHARE) * self.centre + _CENTRE_NEWEST_SHARE * mean


class Spike(msgspec.Struct, frozen=True):
    """A share that is far above its norm: ``bad`` of ``of``; for the shift of the mean, ``of`` vectors."""

    measure: str
    value: float
    norm: float
    bad: int
    of: int


def values(window: Window, norm: Norm) -> dict[str, tuple[float, Tally]]:
    """measure → (share, counts) of a window; the shift is 1 - cosine of the means, less what chance alone makes."""
    found = {measure: (tally.share, tally) for measure, tally in window.tallies.items()}
    if window.total is not None and window.vectors >= SHIFT_VECTORS_MIN and norm.centre is not None:
        found[SHIFT] = (_shift(window.total / window.vectors, window.vectors, norm.centre), Tally(0, window.vectors))
    return found


def spikes(window: Window, norm: Norm) -> list[Spike]:
    """What is three times its own norm or more, by enough events to mean something.

    Where a problem is so common that it cannot be three times as common, what is without it counts instead: a third
    of its norm is as alarming.
    """
    found = []
    for measure, (value, tally) in values(window, norm).items():
        usual = norm.of(measure)
        if usual is None or (measure != SHIFT and tally.bad < SPIKE_EVENTS_MIN):
            continue
        is_common = measure != SHIFT and (1 - value) * SPIKE_TIMES < (1 - usual)
        if value > max(SPIKE_FLOOR, SPIKE_TIMES * usual) or (is_common and value > usual + SPIKE_FLOOR):
            found.append(Spike(measure, value, usual, tally.bad, tally.of))
    return found


def _shift(mean: Sum, vectors: int, centre: Sum) -> float:
    length = float(np.linalg.norm(mean))
    both = length * float(np.linalg.norm(centre))
    if both == 0:
        return 0.0
    # Of n unit vectors around a mean of length r the sample's mean is off by about (1 - r²) / (2 n r²) by chance.
    chance = (1 - min(1.0, length * length)) / (2 * vectors * length * length)
    return max(0.0, 1 - float(mean @ centre) / both - chance)
