"""Batches are cut by predicted time, and by what the memory holds."""

from hypothesis import given
from hypothesis import strategies as st

from processors.encoders.batching import BATCH_SECONDS_MAX, ITEMS_MAX, RECOVERY_CALLS, BatchTimes, bucket


@given(
    st.integers(1, 5000), st.dictionaries(st.sampled_from([2**n for n in range(10)]), st.floats(1e-6, 10), min_size=1)
)
def test_a_batch_fits_into_its_time_and_is_never_empty(waiting: int, item_seconds: dict[int, float]) -> None:
    times = BatchTimes(item_seconds)
    count = times.cut(waiting)
    assert 1 <= count <= min(waiting, ITEMS_MAX)
    known = [size for size in item_seconds if size <= times.full]
    foretold = item_seconds[max(known)] if known else item_seconds[min(item_seconds)]
    assert count == 1 or count * foretold <= BATCH_SECONDS_MAX


def test_buckets_are_powers_of_two() -> None:
    assert [bucket(items) for items in (1, 2, 3, 4, 5, 16, 17, 512)] == [1, 2, 4, 4, 8, 16, 32, 512]


def seen(times: BatchTimes, waiting: int, item_seconds: dict[int, float], calls: int) -> BatchTimes:
    """The estimates after calls of a model that takes these seconds per item at these sizes."""
    for _ in range(calls):
        count = times.cut(waiting)
        times = times.after(count, count * item_seconds[bucket(count)])
    return times


def test_the_first_batch_is_small_and_later_ones_take_the_size_that_is_quickest_per_item() -> None:
    # As the bundled model on a processor: beyond 16 a batch leaves the caches.
    curve = {1: 0.005, 2: 0.003, 4: 0.0025, 8: 0.002, 16: 0.0014, 32: 0.0017, 64: 0.002}
    assert BatchTimes().cut(100) == 4
    assert seen(BatchTimes(), 1000, curve, 50).full == 16
    # As on a GPU: the larger the better.
    falling = {2**n: 0.01 / 2**n for n in range(10)}
    assert seen(BatchTimes(), 1000, falling, 50).full == ITEMS_MAX
    # A large model: a single picture takes longer than the limit.
    assert seen(BatchTimes(), 1000, dict.fromkeys(falling, 0.2), 50).cut(1000) == 1


def test_a_size_that_was_slow_once_is_tried_again() -> None:
    curve = {1: 0.005, 2: 0.003} | dict.fromkeys([2**n for n in range(2, 10)], 0.002)
    times = seen(BatchTimes(), 1000, curve, 50)
    assert times.full == 4
    times = times.after(4, 10.0)  # the machine slept
    assert times.full != 4
    assert seen(times, 1000, curve, 3_000).full == 4


def test_of_sizes_that_are_about_as_quick_the_smallest_is_taken_once_the_others_were_tried() -> None:
    # As the bundled model in eight bits.
    nearly_flat = {1: 0.0023, 2: 0.0022, 4: 0.0019, 8: 0.0018, 16: 0.00175, 32: 0.0018, 64: 0.002}
    times = seen(BatchTimes(), 1000, nearly_flat, 50)
    assert {4, 16} <= times.item_seconds.keys()
    assert times.full == 4


def test_out_of_memory_halves_the_batch_and_its_size_comes_back() -> None:
    falling = {2**n: 0.01 / 2**n for n in range(10)}
    times = seen(BatchTimes(), 1000, falling, 50)
    halved = times.after_out_of_memory(times.cut(1000))
    assert halved.cut(1000) == ITEMS_MAX // 2
    assert halved.after_out_of_memory(halved.cut(1000)).cut(1000) == ITEMS_MAX // 4
    assert halved.after_out_of_memory(1).cut(1000) == 1
    assert seen(halved, 1000, falling, RECOVERY_CALLS - 1).cut(1000) == ITEMS_MAX // 2
    assert seen(halved, 1000, falling, RECOVERY_CALLS).cut(1000) == ITEMS_MAX
