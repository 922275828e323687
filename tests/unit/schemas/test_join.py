"""The cases that HOLES 14 and 4 name."""

from schemas.join import Ignored, Rank, Ranks, decide

CONTENT_5 = Ranks(content=Rank(5, digest=b"five"))


def test_equal_versions_are_decided_by_the_digest_whatever_comes_first() -> None:
    blue, red = Ranks(content=Rank(5, digest=b"blue")), Ranks(content=Rank(5, digest=b"red"))
    assert decide(blue, red).after == decide(red, blue).after == red


def test_two_of_three_pictures_give_way_to_all_three_at_the_same_version() -> None:
    two, three = Ranks(content=Rank(5, revision=2, digest=b"z")), Ranks(content=Rank(5, revision=3, digest=b"a"))
    assert decide(two, three).take_content
    assert decide(three, two).ignored is Ignored.OLDER


def test_a_raised_processing_epoch_wins_over_more_views() -> None:
    many_views, next_epoch = Rank(5, revision=16), Rank(5, revision=(1 << 16) + 1)
    assert decide(Ranks(content=many_views), Ranks(content=next_epoch)).take_content


def test_derived_versions_of_one_millisecond_are_decided_by_the_offset() -> None:
    first, second = Ranks(content=Rank(1000, sequence=8)), Ranks(content=Rank(1000, sequence=9))
    assert decide(first, second).take_content
    assert decide(second, first).ignored is Ignored.OLDER


def test_an_offer_that_comes_before_its_content_is_kept_and_shows_nothing() -> None:
    offer = decide(Ranks(), Ranks(offer=Rank(7))).after
    assert not offer.is_visible
    both = decide(offer, Ranks(content=Rank(6)))
    assert both.take_content
    assert both.after == Ranks(content=Rank(6), offer=Rank(7))


def test_a_delete_empties_both_groups_and_consumes_its_version() -> None:
    live = Ranks(content=Rank(5), offer=Rank(5))
    deleted = decide(live, Ranks(deleted=Rank(5)))
    assert deleted.after == Ranks(deleted=Rank(5))
    assert decide(deleted.after, CONTENT_5).ignored is Ignored.SAME_VERSION_AFTER_DELETE
    assert decide(deleted.after, Ranks(content=Rank(4))).ignored is Ignored.OLDER_THAN_DELETE
    assert decide(deleted.after, Ranks(content=Rank(6))).after.is_visible


def test_a_delete_of_an_older_version_hides_nothing_and_is_remembered() -> None:
    decision = decide(CONTENT_5, Ranks(deleted=Rank(4)))
    assert decision.take_deleted
    assert decision.after.is_visible


def test_an_offer_after_a_delete_resurrects_nothing() -> None:
    deleted = Ranks(deleted=Rank(5))
    assert not decide(deleted, Ranks(offer=Rank(9))).after.is_visible


def test_the_reasons_why_a_record_was_ignored() -> None:
    assert decide(CONTENT_5, CONTENT_5).ignored is Ignored.DUPLICATE
    assert decide(CONTENT_5, Ranks(content=Rank(4))).ignored is Ignored.OLDER
    assert decide(Ranks(deleted=Rank(5)), Ranks(deleted=Rank(4))).ignored is Ignored.OLDER


def test_one_record_may_win_with_one_group_and_lose_with_the_other() -> None:
    decision = decide(Ranks(content=Rank(5), offer=Rank(9)), Ranks(content=Rank(6), offer=Rank(6)))
    assert (decision.take_content, decision.take_offer) == (True, False)
    assert decision.after == Ranks(content=Rank(6), offer=Rank(9))
    assert decision.ignored is None
