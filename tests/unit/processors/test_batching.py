"""Batches are cut by predicted time."""

from hypothesis import given
from hypothesis import strategies as st

from processors.batching import BATCH_SECONDS_MAX, ITEMS_MAX, BatchTimes


@given(st.integers(1, 5000), st.floats(1e-6, 10))
def test_a_batch_fits_into_its_time_and_is_never_empty(waiting: int, item_seconds: float) -> None:
    count = BatchTimes(item_seconds).cut(waiting)
    assert 1 <= count <= min(waiting, ITEMS_MAX)
    assert count == 1 or count * item_seconds <= BATCH_SECONDS_MAX


def test_the_first_batch_is_small_and_later_ones_follow_what_was_seen() -> None:
    times = BatchTimes()
    assert times.cut(100) == 4
    for _ in range(20):
        times = times.after(10, 0.1)
    assert times.cut(100) in (5, 6)
    for _ in range(20):
        times = times.after(10, 0.01)
    assert times.cut(100) >= 50
