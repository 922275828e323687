"""The ledger's rules, one by one; the property machine has the rest."""

from streams.ledger import AckLedger, Place

PLACE = Place("t", 0)


def test_the_watermark_stands_at_the_lowest_unfinished_event() -> None:
    ledger = AckLedger()
    ledger.begin(PLACE, 100)
    assert ledger.watermark(PLACE) == 100
    tickets = [ledger.deliver(PLACE, offset) for offset in (100, 101, 103)]  # 102 is a transaction marker
    assert ledger.watermark(PLACE) == 100
    assert tickets[1] is not None
    assert tickets[2] is not None
    assert tickets[0] is not None
    ledger.finish(tickets[1])
    ledger.finish(tickets[2])
    assert ledger.watermark(PLACE) == 100
    ledger.finish(tickets[0])
    assert ledger.watermark(PLACE) == 104


def test_completions_of_an_earlier_assignment_are_not_counted() -> None:
    ledger = AckLedger()
    ledger.begin(PLACE, 100)
    old = ledger.deliver(PLACE, 100)
    assert old is not None
    ledger.begin(PLACE, 100)
    assert not ledger.finish(old)
    new = ledger.deliver(PLACE, 100)
    assert new is not None
    assert not ledger.finish(old)
    assert ledger.watermark(PLACE) == 100
    assert ledger.finish(new)
    assert not ledger.finish(new)
    assert ledger.watermark(PLACE) == 101


def test_what_is_not_assigned_or_was_delivered_before_is_not_to_be_processed() -> None:
    ledger = AckLedger()
    assert ledger.deliver(PLACE, 5) is None
    ledger.begin(PLACE, 5)
    assert ledger.deliver(PLACE, 4) is None
    assert ledger.deliver(PLACE, 5) is not None
    assert ledger.deliver(PLACE, 5) is None
    assert ledger.in_flight == 1
    ledger.end(PLACE)
    assert ledger.watermark(PLACE) is None
    assert ledger.in_flight == 0


def test_it_says_what_is_delivered_next() -> None:
    ledger = AckLedger()
    assert ledger.next_offset(PLACE) is None
    ledger.begin(PLACE, 5)
    assert ledger.next_offset(PLACE) == 5
    ledger.deliver(PLACE, 7)
    assert ledger.next_offset(PLACE) == 8
