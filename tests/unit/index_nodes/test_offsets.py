"""Offsets only grow, and speak of their own partitions only."""

import pytest

from index_nodes.generations.offsets import Offsets
from schemas.layout import NextOffset

START = Offsets.at({0: NextOffset(5), 2: NextOffset(0)})


def test_applied_moves_and_durable_stays() -> None:
    moved = START.advanced({0: NextOffset(9)})
    assert dict(moved.applied) == {0: 9, 2: 0}
    assert dict(moved.durable) == {0: 5, 2: 0}
    assert START.applied[0] == 5


@pytest.mark.parametrize("applied", [{0: NextOffset(4)}, {1: NextOffset(4)}])
def test_going_back_and_foreign_partitions_are_our_own_bugs(applied: dict[int, NextOffset]) -> None:
    with pytest.raises(AssertionError):
        START.advanced(applied)


def test_durable_is_never_ahead() -> None:
    with pytest.raises(AssertionError):
        Offsets({0: NextOffset(5)}, {0: NextOffset(4)}, {0: NextOffset(5)})


@pytest.mark.parametrize(
    ("wanted", "covered"), [({}, True), ({0: 5}, True), ({0: 6}, False), ({7: 99}, True), ({0: 5, 2: 1}, False)]
)
def test_what_is_wanted_of_other_shards_is_passed_over(wanted: dict[int, int], covered: bool) -> None:
    assert START.covers(wanted) is covered
