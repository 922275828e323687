"""Rows of a dump: where they lie, and which of them are done. Pure."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

import msgspec


class Slice(msgspec.Struct, frozen=True):
    """A stretch of one file that is read in one go.

    ``start`` and ``stop`` are row groups of a Parquet file, or bytes of a file of lines (``stop`` -1: its end).
    ``first`` and ``last`` are the numbers of its first and last row, from 1; ``rows`` is how many are meant: of a
    popularity of ``least`` or more, and of less than ``most``.
    """

    file: int
    path: str
    start: int
    stop: int
    first: int
    last: int
    rows: int
    most: float | None = None
    least: float | None = None


class Row(msgspec.Struct, frozen=True):
    """One product of a dump: its number within the file, and its JSON; ``broken`` says why there is none."""

    number: int
    line: bytes
    broken: str | None = None


class Loaded(msgspec.Struct, frozen=True):
    """What became of a row: ``indexed``, ``offer``, ``retry`` (its picture is waited for) or ``refused``."""

    number: int
    outcome: str
    product_id: str = ""
    code: str = ""
    reason: str = ""


class Done(msgspec.Struct, frozen=True):
    """Rows of one file whose effect is confirmed, and how many pictures and texts the model encoded for them."""

    file: int
    rows: tuple[Loaded, ...]
    encoded: int = 0


class RowSet:
    """Row numbers as ascending intervals ``[first, last]``: small where rows are done roughly in order."""

    def __init__(self, intervals: Iterable[Iterable[int]] = ()) -> None:
        self._intervals: list[tuple[int, int]] = []
        for first, last in intervals:
            self.add(first, last)

    def add(self, first: int, last: int) -> None:
        """Add the rows from ``first`` to ``last``, both included."""
        assert first <= last, (first, last)
        known = self._intervals
        begin = bisect_right(known, (first, -1))
        if begin and known[begin - 1][1] >= first - 1:
            begin -= 1
        end = begin
        while end < len(known) and known[end][0] <= last + 1:
            first, last = min(first, known[end][0]), max(last, known[end][1])
            end += 1
        known[begin:end] = [(first, last)]

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._intervals, (number, number)) - 1
        after = place + 1
        is_first = after < len(self._intervals) and self._intervals[after][0] == number
        return is_first or (place >= 0 and self._intervals[place][1] >= number)

    def within(self, first: int, last: int) -> "RowSet":
        """Those from ``first`` to ``last``."""
        meant = (pair for pair in self._intervals if pair[1] >= first and pair[0] <= last)
        return RowSet((max(first, pair[0]), min(last, pair[1])) for pair in meant)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._intervals)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self._intervals)


def intervals_of(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """The numbers as ascending intervals."""
    found = RowSet()
    for number in sorted(numbers):
        found.add(number, number)
    return list(found)
