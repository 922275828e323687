"""Search quality does not depend on the order, repetition or batching of events, nor on a restart."""

import random
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from processors.feedback.clicks import ClickJoin, Windows
from schemas.feedback import FEEDBACK_KINDS, Click, Search, SearchQuality, Shown

WINDOW = 60
RULES = Windows(window_us=WINDOW, lateness_us=1_000, events_max=10_000)
queries = st.integers(0, 3).map(lambda number: f"q{number}")
products = st.integers(0, 3).map(lambda number: f"p{number}")


def search(query_id: str) -> Search:
    """One search for each id, as it is in reality: what it showed follows from its id."""
    number = int(query_id[1:])
    shown = tuple(Shown(f"p{at}", at + 1, 0.5, "ab"[at % 2] if number == 2 else "default") for at in range(number))
    return Search(query_id, "shop", number * 25, "text", 3, shown, False, "s", True, {}, text="mug")


clicks = st.builds(
    Click,
    query_id=queries,
    tenant=st.sampled_from(["shop", "shop", "other"]),
    product_id=products,
    position=st.just(1),
    kind=st.sampled_from(FEEDBACK_KINDS),
    clicked_at=st.integers(0, 1),
)
histories = st.lists(st.one_of(queries.map(search), clicks), max_size=12)


def joined(events: Iterable[Search | Click]) -> ClickJoin[int]:
    join: ClickJoin[int] = ClickJoin(RULES)
    for receipt, event in enumerate(events):
        if isinstance(event, Search):
            join.add_search(event, receipt, 0)
        else:
            join.add_click(event, receipt, 0)
    return join


def rows(events: Iterable[Search | Click]) -> dict[tuple[str, int], SearchQuality]:
    return {(row.arm, row.window_start): row for row in joined(events).changed()}


@given(histories, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(history: list[Search | Click], chance: random.Random) -> None:
    repeated = history + chance.sample(history, len(history) // 2)
    chance.shuffle(repeated)
    assert rows(repeated) == rows(history)


@given(histories)
def test_counts_are_what_counting_by_hand_gives(history: list[Search | Click]) -> None:
    searches = {event.query_id: event for event in history if isinstance(event, Search)}
    clicked = {
        (event.query_id, event.product_id)
        for event in history
        if isinstance(event, Click) and event.kind == "click" and event.tenant == "shop"
    }
    for (arm, start), row in rows(history).items():
        within = [each for each in searches.values() if each.searched_at // WINDOW * WINDOW == start]
        shown = [(each.query_id, s) for each in within for s in each.shown if s.arm == arm]
        assert sum(each.shown for each in row.positions) == len(shown)
        assert row.clicks == sum((query_id, s.product_id) in clicked for query_id, s in shown)
        assert all(0 <= each.clicks <= each.shown and each.ctr == each.clicks / each.shown for each in row.positions)
        assert 0 <= row.abandoned <= row.searches - row.zero_results


@given(histories, st.integers(0, 12))
def test_a_part_of_a_window_never_has_a_greater_revision(history: list[Search | Click], cut: int) -> None:
    """What a restart re-reads is a later part of the log: it can equal what was published, and not outdo it."""
    full = rows(history)
    for key, part in rows(history[cut:]).items():
        assert part.revision <= full[key].revision


@given(histories)
def test_every_receipt_comes_back_once_and_nothing_is_held(history: list[Search | Click]) -> None:
    join = joined(history)
    finished = join.finish(RULES.lateness_us)
    assert sorted(finished.receipts) == list(range(len(history)))
    assert join.finish(RULES.lateness_us).receipts == []
    assert all(pair.weight > 0 for pair in finished.pairs)
