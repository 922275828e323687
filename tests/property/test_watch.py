"""Windows of the watch add up however they are split, and prices are judged by bounded memory."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from processors.watch.prices import PRICES_MAX, Prices
from processors.watch.window import Tally, Window

MEASURES = ("refused", "no-title", "duplicate")
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(MEASURES), st.booleans(), st.none() | st.lists(st.integers(-4, 4), min_size=3, max_size=3)
    )
)


def window_of(events: list, began: int = 5) -> Window:
    window = Window(began)
    for measure, is_bad, vector in events:
        window.events += 1
        window.count(measure, is_bad)
        if vector is not None:
            window.add_vector(np.array(vector, dtype=np.float64))
    return window


def plain(window: Window) -> tuple:
    total = None if window.total is None else window.total.tolist()
    return window.began, window.events, window.tallies, window.vectors, total


@given(EVENTS, EVENTS, EVENTS)
def test_windows_merge_into_the_window_of_all_in_any_order(first: list, second: list, third: list) -> None:
    one, two, three = window_of(first), window_of(second, 3), window_of(third, 9)
    whole = plain(window_of(first + second + third, 3))
    assert plain(one.merged(two).merged(three)) == whole
    assert plain(three.merged(one.merged(two))) == whole
    assert plain(one.merged(Window(9))) == plain(one)


@given(EVENTS)
def test_a_share_is_a_share(events: list) -> None:
    window = window_of(events)
    assert sum(tally.of for tally in window.tallies.values()) == len(events)
    assert all(0 <= tally.bad <= tally.of for tally in window.tallies.values())
    assert all(0 <= tally.share <= 1 for tally in window.tallies.values())
    assert Tally().share == 0


@given(st.lists(st.floats(0, 1e12), max_size=3 * PRICES_MAX))
def test_prices_are_judged_within_bounded_memory(prices: list[float]) -> None:
    known = Prices()
    outliers = [known.is_outlier(price) for price in prices]
    assert len(known.newest) <= PRICES_MAX
    assert not any(outliers[:30])
    assert known.spread > 0
