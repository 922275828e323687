"""Windows of search quality: what they count, how they are revised, and when an event is let go."""

from collections import Counter
from dataclasses import replace

import msgspec
import pytest

from processors.feedback.clicks import ClickJoin, Windows
from schemas.feedback import Click, FeedbackKind, Search, SearchQuality, Shown

SECOND = 1_000_000
RULES = Windows(window_us=60 * SECOND, lateness_us=600 * SECOND, events_max=1000)
START = 1_795_000_020_000_000  # the beginning of a window
NOW = START + 5 * SECOND


def search(query_id: str = "q1", *, shown: int = 3, **over: object) -> Search:
    answer = tuple(Shown(f"p{at}", at, 1 - at / 10) for at in range(1, shown + 1))
    plain = Search(query_id, "shop", START + SECOND, "image", 10, answer, not answer, "test", True, {})
    return msgspec.structs.replace(plain, **{"embedding": b"\x00\x3c", **over})


def click(product_id: str = "p1", kind: FeedbackKind = "click", query_id: str = "q1", **over: object) -> Click:
    return msgspec.structs.replace(Click(query_id, "shop", product_id, 1, kind, START + 9 * SECOND), **over)


def joined(*events: Search | Click, rules: Windows = RULES) -> ClickJoin[object]:
    join: ClickJoin[object] = ClickJoin(rules)
    for event in events:
        add(join, event)
    return join


def add(join: ClickJoin[object], event: Search | Click, receipt: object = None, now: int = NOW) -> None:
    if isinstance(event, Search):
        join.add_search(event, receipt, now)
    else:
        join.add_click(event, receipt, now)


def only(rows: list[SearchQuality]) -> SearchQuality:
    (row,) = rows
    return row


def test_click_through_by_position() -> None:
    row = only(joined(search("q1"), search("q2"), click("p1"), click("p3"), click("p1", query_id="q2")).changed())
    assert (row.tenant, row.arm, row.window_start, row.window_end) == ("shop", "default", START, START + 60 * SECOND)
    assert (row.searches, row.clicks, row.zero_results, row.abandoned) == (2, 3, 0, 0)
    assert [(each.position, each.shown, each.clicks, each.ctr) for each in row.positions] == [
        (1, 2, 2, 1.0), (2, 2, 0, 0.0), (3, 2, 1, 0.5),
    ]  # fmt: skip


def test_the_position_is_where_the_product_was_shown_whatever_the_click_says() -> None:
    row = only(joined(search(), click("p2", position=99)).changed())
    assert [each.clicks for each in row.positions] == [0, 1, 0]


def test_zero_results_are_not_abandoned_searches() -> None:
    row = only(joined(search("q1", shown=0), search("q2"), search("q3"), click(query_id="q3")).changed())
    assert (row.searches, row.zero_results, row.abandoned) == (3, 1, 1)


def test_carts_and_purchases_count_once_for_each_product_of_a_search() -> None:
    twice = [click("p1", "add_to_cart", clicked_at=START + at) for at in (1, 2)]
    row = only(joined(search(), *twice, click("p2", "purchase")).changed())
    assert (row.clicks, row.carts, row.purchases, row.abandoned) == (0, 1, 1, 0)


def test_two_clicks_on_one_product_are_one_click_through() -> None:
    row = only(joined(search(), click(clicked_at=START + 1), click(clicked_at=START + 2)).changed())
    assert (row.clicks, row.positions[0].ctr) == (1, 1.0)


def test_arms_share_a_search_and_own_their_products() -> None:
    mixed = msgspec.structs.replace(
        search(), shown=(Shown("p1", 1, 0.9, "a"), Shown("p2", 2, 0.8, "b"), Shown("p3", 3, 0.7, "a"))
    )
    a, b = joined(mixed, click("p2")).changed()
    assert (a.arm, a.searches, a.clicks, [each.position for each in a.positions]) == ("a", 1, 0, [1, 3])
    assert (b.arm, b.searches, b.clicks, [each.position for each in b.positions]) == ("b", 1, 1, [2])
    assert (a.abandoned, b.abandoned) == (0, 0)


def test_tenants_and_windows_are_apart() -> None:
    later = search("q2", searched_at=START + 61 * SECOND)
    other = search("q3", tenant="other")
    rows = joined(search("q1"), later, other).changed()
    assert sorted((row.tenant, row.window_start - START, row.searches) for row in rows) == [
        ("other", 0, 1), ("shop", 0, 1), ("shop", 60 * SECOND, 1),
    ]  # fmt: skip


def test_a_click_may_come_before_its_search() -> None:
    join = joined(click("p1"))
    assert join.changed() == []
    add(join, search())
    assert only(join.changed()).clicks == 1


def test_a_window_is_published_again_only_when_it_changed_and_with_a_greater_revision() -> None:
    join = joined(search())
    first = only(join.changed())
    assert join.changed() == []
    add(join, search())
    add(join, click())
    second = only(join.changed())
    add(join, click())
    assert join.changed() == []
    assert second.revision > first.revision
    assert (second.searches, second.clicks) == (1, 1)


def test_a_rebuilt_window_is_equal_and_one_rebuilt_in_part_has_a_smaller_revision() -> None:
    events = [search("q1"), search("q2"), click(query_id="q2"), click(query_id="q1")]
    full = only(joined(*events).changed())
    assert only(joined(*reversed(events)).changed()) == full
    assert only(joined(*events, *events).changed()) == full
    assert only(joined(*events[1:3]).changed()).revision < full.revision


@pytest.mark.parametrize(
    ("event", "reason"),
    [(click("p9"), "not-shown"), (click(tenant="other"), "other-tenant"), (click(query_id="q9"), "no-search")],
)
def test_a_click_that_counts_nowhere_is_counted_by_reason(event: Click, reason: str) -> None:
    join = joined(search())
    add(join, event, "receipt")
    assert only(join.changed()).clicks == 0
    finished = join.finish(NOW + RULES.lateness_us)
    assert finished.dropped == Counter({reason: 1})
    assert "receipt" in finished.receipts


def test_receipts_are_kept_until_the_window_is_finished() -> None:
    join = joined()
    add(join, search(), "search")
    add(join, click(), "click")
    add(join, click(), "the click again")
    add(join, search(), "the search again")
    assert join.finish(NOW + RULES.lateness_us - 1).receipts == []
    assert join.finish(NOW + RULES.lateness_us).receipts == ["search", "click", "the click again", "the search again"]
    assert join.finish(NOW + RULES.lateness_us).receipts == []


def test_a_click_does_not_keep_a_window_open() -> None:
    join = joined(search())
    add(join, click(), now=NOW + RULES.lateness_us - 1)
    assert len(join.finish(NOW + RULES.lateness_us).receipts) == 2


def test_a_wrong_time_of_search_cannot_hold_receipts_for_ever() -> None:
    join = joined(search(searched_at=2**62), search("q2", searched_at=-(2**62)))
    assert len(join.finish(NOW + RULES.lateness_us).receipts) == 2


def test_too_much_held_finishes_the_oldest_first() -> None:
    rules = Windows(60 * SECOND, 600 * SECOND, events_max=3)
    join: ClickJoin[object] = ClickJoin(rules)
    for number in range(5):
        add(join, search(f"q{number}", searched_at=START + number * 60 * SECOND), number)
        assert join.is_full == (number >= 3)
    assert join.finish(NOW).receipts == [0, 1]
    assert not join.is_full


def test_a_window_whose_events_were_let_go_early_goes_on_counting() -> None:
    join: ClickJoin[object] = ClickJoin(Windows(60 * SECOND, 600 * SECOND, events_max=3))
    for number in range(4):
        add(join, search(f"q{number}"), number)
    add(join, click(query_id="q0"), "click")
    assert len(join.finish(NOW).receipts) == 5
    add(join, search("q9"))
    row = only(join.changed())
    assert (row.searches, row.clicks, row.revision) == (5, 1, 6)
    assert len(join.finish(NOW + RULES.lateness_us).receipts) == 1
    assert join.changed() == []


def test_too_many_clicks_without_a_search_are_let_go() -> None:
    join: ClickJoin[object] = ClickJoin(Windows(60 * SECOND, 600 * SECOND, events_max=3))
    for number in range(5):
        add(join, click(query_id=f"q{number}"), number)
    finished = join.finish(NOW)
    assert (finished.receipts, finished.dropped) == ([0, 1], Counter({"no-search": 2}))


def test_clicks_of_one_tenant_without_a_search_leave_the_searches_of_another_alone() -> None:
    join: ClickJoin[object] = ClickJoin(Windows(60 * SECOND, 600 * SECOND, events_max=20))
    finishes = 0
    for number in range(100):
        events: list[Search | Click] = [click(query_id=f"order-{number}", tenant="noisy")]
        if number % 10 == 9:
            events += [search(f"q{number}", searched_at=START + number * SECOND), click(query_id=f"q{number}")]
        for event in events:
            add(join, event, now=NOW + number * SECOND)
            if join.is_full:
                finishes += 1
                join.finish(NOW + number * SECOND)
    rows = [row for row in join.changed() if row.tenant == "shop"]
    assert (sum(row.searches for row in rows), sum(row.clicks for row in rows)) == (10, 10)
    assert finishes < 60, "a tenth at once, not with every event"


@pytest.mark.parametrize(
    ("clicks", "pairs"),
    [
        ([click(dwell_ms=5_000)], [("p1", "click", 1.0)]),
        ([click(dwell_ms=4_999), click("p2")], []),
        ([click("p2", "add_to_cart")], [("p2", "add_to_cart", 3.0)]),
        ([click("p2", "add_to_cart"), click("p2", "purchase"), click("p2")], [("p2", "purchase", 5.0)]),
        ([click("p1", "purchase"), click("p1", "return")], []),
        ([click("p1", dwell_ms=9_000), click("p1", "not_relevant")], []),
        ([click("p1", "save")], []),
        ([click("p1", "purchase"), click("p3", dwell_ms=6_000)], [("p1", "purchase", 5.0), ("p3", "click", 1.0)]),
    ],
)
def test_training_pairs(clicks: list[Click], pairs: list[tuple[str, str, float]]) -> None:
    finished = joined(search(), *clicks).finish(NOW + RULES.lateness_us)
    assert [(pair.product_id, pair.kind, pair.weight) for pair in finished.pairs] == pairs
    assert all(pair.embedding == b"\x00\x3c" and pair.query_id == "q1" for pair in finished.pairs)


def test_a_search_without_a_query_teaches_nothing() -> None:
    finished = joined(search(embedding=None), click(kind="purchase")).finish(NOW + RULES.lateness_us)
    assert finished.pairs == []


def test_what_comes_again_after_a_rebalance_is_not_counted_twice() -> None:
    join: ClickJoin[object] = ClickJoin(replace(RULES, events_max=100))
    events = [search(f"q{number}", searched_at=START + number % 3 * 60 * SECOND) for number in range(90)]
    for event in events:
        add(join, event)
    before = {row.window_start: (row.revision, row.searches) for row in join.changed()}
    join.begin_anew()
    for event in events:
        add(join, event)
        if join.is_full:
            join.finish(NOW)
    assert {row.window_start: (row.revision, row.searches) for row in join.changed()} == before
