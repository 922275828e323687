"""How long a search that begins now will take, by how busy this process is. Pure: the caller says what time it is."""

from dataclasses import dataclass

_WEIGHT = 0.05
"""Of the newest search in the mean: about the last twenty count."""


@dataclass(slots=True)
class Pressure:
    """Searches in hand, and how much of the process one of them takes.

    One that ends while others wait was served since the one before it ended; one that found nobody, since it began.
    """

    in_hand: int = 0
    service_ms: float = 0.0
    _last_end_s: float = 0.0

    def begin(self) -> None:
        """A search begins."""
        self.in_hand += 1

    def end(self, began_s: float, now_s: float) -> None:
        """A search that began then has ended, however it ended."""
        self.in_hand -= 1
        served_ms = (now_s - max(began_s, self._last_end_s)) * 1000
        self.service_ms += (served_ms - self.service_ms) * (_WEIGHT if self.service_ms else 1.0)
        self._last_end_s = now_s

    @property
    def expected_ms(self) -> float:
        """Until those in hand are done; a search alone is no pressure, however long it takes."""
        return self.in_hand * self.service_ms if self.in_hand > 1 else 0.0
