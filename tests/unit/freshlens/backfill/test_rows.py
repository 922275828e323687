"""Which rows are done, as intervals."""

from hypothesis import given
from hypothesis import strategies as st

from freshlens.backfill.rows import RowSet, intervals_of

intervals = st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(intervals), intervals)
def test_intervals_are_a_set_of_numbers(added: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    rows = RowSet(added)
    numbers = {number for first, last in added for number in range(first, last + 1)}
    assert {number for number in range(80) if number in rows} == numbers
    assert len(rows) == len(numbers)
    assert list(rows) == intervals_of(numbers), "no two that touch"
    within = rows.within(*asked)
    assert {number for number in range(80) if number in within} == numbers & set(range(asked[0], asked[1] + 1))


def test_neighbours_become_one() -> None:
    rows = RowSet([(1, 3), (7, 9)])
    rows.add(4, 6)
    assert list(rows) == [(1, 9)]
    assert 10 not in rows
    assert 0 not in rows
