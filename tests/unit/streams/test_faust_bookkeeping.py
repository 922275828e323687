"""What Faust 0.15.3 itself would commit (HOLES 3): the reason for our ledger.

These pin the behaviour of Faust. When one fails, upstream has changed: read HOLES 3 again, then adapt.
"""

import asyncio
import inspect
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.protocol.fetch import FetchRequest
from faust.transport.consumer import Consumer
from faust.types import TP
from intervaltree import IntervalTree
from mode.utils.queues import FlowControlEvent, FlowControlQueue

from schemas.metrics import NullMetrics
from streams.app import (
    BRIEF_WAIT_MS,
    BUFFER_BYTES_MAX,
    FETCH_WAIT_MS,
    HELD_BACK_S_MAX,
    WorkerApp,
    _Consumer,
    _Thread,
    hurry_partial_polls,
    pace_polls,
    worker_app,
)
from streams.ledger import AckLedger, Place
from topics.settings import KafkaSettings

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


def test_faust_asks_for_no_more_records_while_every_buffer_is_full_but_has_no_bound_on_bytes() -> None:
    """Its queue takes what is put by force, beyond its size; only the count of records makes it pause a partition."""
    queue: FlowControlQueue[bytes] = FlowControlQueue(maxsize=10, flow_control=FlowControlEvent())
    full: list[int] = []
    for number in range(20):
        queue.put_nowait_enhanced(
            b"x" * 1_000_000, on_pressure_high=lambda number=number: full.append(number), on_pressure_drop=lambda: None
        )
    assert queue.qsize() == 20
    assert full[0] == queue.pressure_high_size == 8


@pytest.mark.parametrize(
    ("ahead", "active", "flows", "reads"),
    [
        (BUFFER_BYTES_MAX, {PLACE}, True, True),
        (BUFFER_BYTES_MAX + 1, {PLACE}, True, False),
        (0, set(), True, False),  # every buffer is full: Faust would sleep for a second
        (BUFFER_BYTES_MAX + 1, set(), False, True),  # a rebalance, which Faust waits for in there
    ],
)
async def test_we_read_no_further_while_what_was_read_ahead_is_large(
    ahead: int, active: set[TP], flows: bool, reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def read(_consumer: object, timeout: float) -> tuple[dict[TP, Any], set[TP]]:
        asked.append(timeout)
        return {}, set()

    async def sleep(_seconds: float) -> None:
        pass

    monkeypatch.setattr("faust.transport.drivers.aiokafka.Consumer._wait_next_records", read)
    consumer = _Consumer.__new__(_Consumer)
    event = SimpleNamespace(message=SimpleNamespace(value=b"x" * ahead))
    app = WorkerApp.__new__(WorkerApp)
    app.read_ahead = [SimpleNamespace(_queue=[event, SimpleNamespace(message=SimpleNamespace(value=None))])]
    monkeypatch.setattr(consumer, "app", app, raising=False)
    monkeypatch.setattr(consumer, "sleep", sleep)
    monkeypatch.setattr(consumer, "flow_active", flows)
    monkeypatch.setattr(consumer, "_active_partitions", active, raising=False)
    assert await consumer._wait_next_records(1.0) == ({}, set())
    assert bool(asked) is reads


def test_a_worker_that_holds_back_its_input_keeps_its_partitions(tmp_path: Path) -> None:
    """Where every partition is paused Faust polls no more, and the client would leave its group after 1,000 s."""
    conf = worker_app("embed", KafkaSettings("h:1"), {}, metrics=NullMetrics(), data=tmp_path).conf
    assert conf.broker_max_poll_interval == HELD_BACK_S_MAX >= 24 * 3600


def test_our_consumer_thread_reads_committed_records_only(monkeypatch: pytest.MonkeyPatch) -> None:
    made = SimpleNamespace(_isolation_level="read_uncommitted", _fetch_max_wait_ms=1500)
    monkeypatch.setattr(
        "faust.transport.drivers.aiokafka.AIOKafkaConsumerThread._create_worker_consumer", lambda *_: made
    )
    consumer = _Thread.__new__(_Thread)._create_worker_consumer(None)
    assert (consumer._isolation_level, consumer._fetch_max_wait_ms) == ("read_committed", FETCH_WAIT_MS)


@pytest.mark.parametrize(("records", "resetting", "resuming", "waits_ms"), [
    ({}, {}, [], FETCH_WAIT_MS),
    ({"tp": "not taken yet"}, {}, [], BRIEF_WAIT_MS),
    ({}, {1: ["tp"]}, [], BRIEF_WAIT_MS),
    ({}, {}, ["paused"], BRIEF_WAIT_MS),
])  # fmt: skip
def test_only_a_poll_of_every_partition_may_take_long(
    records: object, resetting: object, resuming: object, waits_ms: int
) -> None:
    request = FetchRequest(FETCH_WAIT_MS, 1, 1, 1, [("topic", [(0, 0, 1)])])
    fetcher = SimpleNamespace(
        _records=records, _get_actions_per_node=lambda _: ([(1, request)], resetting, 0.1, False, resuming)
    )
    hurry_partial_polls(fetcher)
    assert fetcher._get_actions_per_node("assignment") == ([(1, request)], resetting, 0.1, False, resuming)
    assert request._max_wait_ms == waits_ms


def test_polls_are_planned_by_what_aiokafka_still_has() -> None:
    """`hurry_partial_polls` replaces a method of aiokafka's own, and reads what that and its requests are made of."""
    source = inspect.getsource(Fetcher)
    assert "def _get_actions_per_node(self, assignment)" in source
    returned = inspect.getsource(Fetcher._get_actions_per_node).rpartition("return")[2]
    assert [name.strip() for name in returned.strip(" ()\n").split(",") if name.strip()] == [
        "fetch_requests", "awaiting_reset", "backoff", "invalid_metadata", "resume_futures",
    ]  # fmt: skip
    assert "_max_wait_ms" in inspect.getsource(FetchRequest.build)


class PolledFetcher:
    """When an aiokafka Fetcher would have polled."""

    def __init__(self) -> None:
        self.began: list[float] = []

    async def _proc_fetch_request(self, assignment: str, node_id: int, request: str) -> bool:
        assert (assignment, node_id, request) == ("assignment", 1, "request")
        self.began.append(asyncio.get_running_loop().time())
        return True


async def test_polls_begin_some_time_after_one_another() -> None:
    fetcher = PolledFetcher()
    pace_polls(fetcher, 0.02)
    began = asyncio.get_running_loop().time()
    for _ in range(3):
        assert await fetcher._proc_fetch_request("assignment", 1, "request")
    assert [round(at - began, 3) >= least for at, least in zip(fetcher.began, (0.0, 0.02, 0.04), strict=True)] == [
        True, True, True,
    ]  # fmt: skip


async def test_the_first_poll_after_a_silence_waits_for_nothing() -> None:
    fetcher, naps = PolledFetcher(), []
    pace_polls(fetcher, 60.0)
    with mock.patch("asyncio.sleep", side_effect=naps.append):
        await fetcher._proc_fetch_request("assignment", 1, "request")
    assert naps == []


async def test_a_poll_that_is_cancelled_while_it_waits_for_its_turn_ends_as_one_that_has_begun() -> None:
    """A Fetcher cancels its polls as it closes, and awaits each: an error would end the consumer's thread."""
    fetcher = PolledFetcher()
    pace_polls(fetcher, 60.0)
    assert await fetcher._proc_fetch_request("assignment", 1, "request")
    waiting = asyncio.ensure_future(fetcher._proc_fetch_request("assignment", 1, "request"))
    await asyncio.sleep(0)
    waiting.cancel()
    assert await waiting is False
    assert len(fetcher.began) == 1
    assert "except asyncio.CancelledError" in inspect.getsource(Fetcher._proc_fetch_request)


def test_polls_are_begun_where_they_are_paced() -> None:
    """`pace_polls` replaces a method of aiokafka's own."""
    assert "self._proc_fetch_request(assignment, node_id, request)" in inspect.getsource(
        Fetcher._fetch_requests_routine
    )
