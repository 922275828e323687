"""The laws of the join (HOLES 14): whatever the order, repetition and splitting, the same product results."""

import random
from collections.abc import Iterable
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from schemas.join import Decision, Ignored, Rank, Ranks, decide
from tests.values import ranks, records

NOTHING = Ranks()
histories = st.lists(records, max_size=8)


def fold(history: Iterable[Ranks], start: Ranks = NOTHING) -> Ranks:
    return reduce(lambda state, record: decide(state, record).after, history, start)


def by_definition(history: list[Ranks]) -> Ranks:
    """What DESIGN 4 says, in its own words and without folding."""
    groups = zip(*history, strict=True)
    content, offer, deleted = (max((rank for rank in group if rank), default=None) for group in groups)
    floor = deleted.version if deleted else -1
    return Ranks(
        content if content and content.version > floor else None,
        offer if offer and offer.version > floor else None,
        deleted,
    )


@given(histories.filter(bool))
def test_the_fold_is_what_the_design_says(history: list[Ranks]) -> None:
    assert fold(history) == by_definition(history)


@given(histories, st.randoms(use_true_random=False))
def test_order_does_not_matter(history: list[Ranks], chance: random.Random) -> None:
    shuffled = list(history)
    chance.shuffle(shuffled)
    assert fold(shuffled) == fold(history)


@given(records, records)
def test_commutative(left: Ranks, right: Ranks) -> None:
    assert fold([left, right]) == fold([right, left])


@given(records, records, records)
def test_associative(first: Ranks, second: Ranks, third: Ranks) -> None:
    assert fold([fold([first, second]), third]) == fold([first, fold([second, third])])


@given(histories, records)
def test_idempotent(history: list[Ranks], record: Ranks) -> None:
    once = fold([*history, record])
    again = decide(once, record)
    assert again.after == once
    assert again.ignored is not None
    assert not any((again.take_content, again.take_offer, again.take_deleted))


@given(histories, st.integers(0, 8), st.integers(0, 8))
def test_a_replayed_overlap_changes_nothing(history: list[Ranks], start: int, end: int) -> None:
    assert fold(history + history[min(start, end) : max(start, end)]) == fold(history)


@given(histories, st.integers(0, 8))
def test_a_generation_may_be_cut_anywhere(history: list[Ranks], cut: int) -> None:
    generation = fold(history[:cut])
    assert fold(history[cut:], generation) == fold(history)


@given(histories, records)
def test_a_decision_tells_exactly_what_changed(history: list[Ranks], record: Ranks) -> None:
    before = fold(history)
    decision = decide(before, record)
    assert_describes(decision, before, record)


def assert_describes(decision: Decision, before: Ranks, record: Ranks) -> None:
    taken = (decision.take_content, decision.take_offer, decision.take_deleted)
    for group, take in zip(Ranks._fields, taken, strict=True):
        after = getattr(decision.after, group)
        if take:
            assert after == getattr(record, group)
            assert after != getattr(before, group)
        else:
            emptied = after is None and group != "deleted" and decision.take_deleted
            assert emptied or after == getattr(before, group)
    assert (decision.ignored is None) == any(taken)
    assert (decision.ignored is None) == (decision.after != before)


@given(histories, ranks)
def test_a_delete_hides_every_version_up_to_its_own(history: list[Ranks], deleted: Rank) -> None:
    after = fold([*history, Ranks(deleted=deleted)])
    for group in (after.content, after.offer):
        assert group is None or group.version > deleted.version
    older = Rank(deleted.version, 9, 9, b"\xff")
    assert fold([Ranks(content=older, offer=older)], after) == after


@given(histories, ranks)
def test_an_offer_alone_resurrects_nothing(history: list[Ranks], offer: Rank) -> None:
    before = fold(history)
    after = fold([Ranks(offer=offer)], before)
    assert after.is_visible == before.is_visible


@given(histories)
def test_a_greater_version_always_brings_the_product_back(history: list[Ranks]) -> None:
    before = fold(history)
    newest = max((rank.version for rank in before if rank is not None), default=0)
    assert fold([Ranks(content=Rank(newest + 1))], before).is_visible


@given(records, st.lists(records, max_size=4))
def test_a_record_says_duplicate_only_of_what_is_there(record: Ranks, history: list[Ranks]) -> None:
    before = fold(history)
    if decide(before, record).ignored is Ignored.DUPLICATE:
        assert all(new is None or new == old for old, new in zip(before, record, strict=True))
