"""What Faust 0.15.3 itself would commit (HOLES 3): the reason for our ledger.

These pin the behaviour of Faust. When one fails, upstream has changed: read HOLES 3 again, then adapt.
"""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.consumer import Consumer
from faust.types import TP
from intervaltree import IntervalTree

from streams.app import _Consumer, _Thread
from streams.ledger import AckLedger, Place

PLACE = TP("product-added", 0)


def faust_consumer(committed: int | None) -> Any:
    """Faust's bookkeeping, its real methods, without a broker."""
    consumer = SimpleNamespace(
        _acked=defaultdict(list),
        _acked_index=defaultdict(set),
        _gap=defaultdict(IntervalTree),
        _committed_offset={PLACE: committed},
    )
    consumer._new_offset = lambda: Consumer._new_offset(consumer, PLACE)  # type: ignore[arg-type]
    consumer.add_gap = lambda first, last: Consumer._add_gap(consumer, PLACE, first, last)  # type: ignore[arg-type]
    return consumer


def ours(committed: int, delivered: list[int], finished: list[int]) -> int | None:
    """What our consumer commits for the same deliveries."""
    ledger = AckLedger()
    ledger.begin(Place(*PLACE), committed)
    tickets = {offset: ledger.deliver(Place(*PLACE), offset) for offset in delivered}
    for offset in finished:
        ticket = tickets[offset]
        assert ticket is not None
        ledger.finish(ticket)
    consumer = SimpleNamespace(app=SimpleNamespace(ledger=ledger))
    return _Consumer._new_offset(consumer, PLACE)  # type: ignore[arg-type]


def test_faust_commits_past_one_unfinished_event_at_the_head() -> None:
    consumer = faust_consumer(committed=100)
    consumer._acked[PLACE] = list(range(101, 132))
    assert consumer._new_offset() == 132
    assert ours(100, list(range(100, 132)), list(range(101, 132))) == 100


def test_faust_commits_past_any_unfinished_event_when_nothing_was_committed() -> None:
    consumer = faust_consumer(committed=None)
    consumer._acked[PLACE] = list(range(5, 10))
    assert consumer._new_offset() == 10
    assert ours(0, list(range(10)), list(range(5, 10))) == 0


async def test_faust_commits_past_the_event_after_a_transaction_marker() -> None:
    consumer = faust_consumer(committed=10)
    await consumer.add_gap(11, 12)  # a marker at 11: Faust adds the next message's own offset, too
    consumer._acked[PLACE] = [10, 13]
    assert consumer._new_offset() == 14
    assert ours(10, [10, 12, 13], [10, 13]) == 12


def test_faust_takes_acks_from_before_a_rebalance() -> None:
    consumer = faust_consumer(committed=None)  # revoked: its bookkeeping is dropped; assigned again, not yet sought
    consumer._acked[PLACE] = list(range(110, 121))  # late acks; 100 to 109 are still in flight
    assert consumer._new_offset() == 121
    assert ours(100, [], []) == 100


def test_our_consumer_thread_reads_committed_records_only(monkeypatch: pytest.MonkeyPatch) -> None:
    made = SimpleNamespace(_isolation_level="read_uncommitted", _fetch_max_wait_ms=1500)
    monkeypatch.setattr(
        "faust.transport.drivers.aiokafka.AIOKafkaConsumerThread._create_worker_consumer", lambda *_: made
    )
    thread = _Thread.__new__(_Thread)
    assert thread._create_worker_consumer(None)._isolation_level == "read_committed"
