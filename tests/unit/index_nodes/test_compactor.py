"""When to compact, a pure decision; and the watch that does it, with a store and a log and a clock of its own."""

import operator
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from index_nodes.compaction import compaction, gate
from index_nodes.compaction.compactor import Growth, Watch, growth_of, pause_s, why_compact
from index_nodes.compaction.publication import accept
from index_nodes.compaction.report import report_keys
from index_nodes.generations.heads import head_numbers, rejections
from index_nodes.settings import CompactorSettings
from schemas.clock import ManualClock
from schemas.errors import BrokerUnavailable, DiskFull, HeadExists, StorageError
from schemas.index_log import IndexLogRecord
from schemas.node_status import NodeStatus
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index

SETTINGS = CompactorSettings.from_env({"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092", "FRESHLENS_SPACE": "s:8"})
NOON = datetime(2026, 11, 20, 12, tzinfo=timezone(timedelta(hours=1)))
LITTLE = Growth(10, 1000)


@pytest.mark.parametrize(
    ("growth", "last_at", "reason"),
    [
        (Growth(0, 0), NOON - timedelta(days=9), None),
        (LITTLE, NOON - timedelta(hours=1), None),
        (LITTLE, NOON - timedelta(hours=10), "daily at 03:00"),
        (LITTLE, NOON - timedelta(hours=8), None),
        (Growth(50_000, 0), NOON, "50000 records"),
        (Growth(1, 1 << 30), NOON, "bytes of log"),
    ],
)
def test_reasons(growth: Growth, last_at: datetime, reason: str | None) -> None:
    found = why_compact(SETTINGS, growth, last_at, NOON)
    assert found is None if reason is None else reason in str(found)


def test_without_a_schedule_a_little_log_may_wait_for_ever() -> None:
    assert why_compact(replace(SETTINGS, at=None), LITTLE, NOON - timedelta(days=99), NOON) is None


def test_before_the_time_of_day_yesterday_s_counts() -> None:
    at_two = NOON.replace(hour=2)
    assert why_compact(SETTINGS, LITTLE, at_two - timedelta(hours=24), at_two) is not None
    assert why_compact(SETTINGS, LITTLE, at_two - timedelta(hours=22), at_two) is None


def test_growth_counts_the_partitions_of_the_shard_only() -> None:
    assert growth_of({"0": 5, "2": 10}, {0: 8, 1: 1000, 2: 10}, 100.0) == Growth(3, 300)


class Watched:
    """A watch over an index; one of two records or more is compacted."""

    def __init__(self, index: Index) -> None:
        self.index, self.clock, self.statuses = index, ManualClock(), list[NodeStatus]()
        self.asked = 0
        self.stops = False
        settings = replace(SETTINGS, lane=index.lane, records_max=2, at=None)
        self.watch = Watch(
            settings,
            index.log,
            index.store,
            index.metrics,
            self._statuses,
            should_stop=lambda: self.stops,
            clock=self.clock,
        )

    def _statuses(self) -> list[NodeStatus]:
        self.asked += 1
        return self.statuses

    def look(self, *items: IndexLogRecord) -> bool:
        """Whether a generation was published."""
        self.index.apply(*items)
        return self.watch.look(0) is not None

    def outcomes(self, outcome: str) -> float:
        return self.index.metrics.values.get(("freshlens_compactions_total", (("outcome", outcome),)), 0)

    @property
    def rejected_in_a_row(self) -> float:
        return self.index.metrics.values["freshlens_rejected_in_a_row", (("shard", "0"),)]


@pytest.fixture
def watched(index: Index) -> Watched:
    return Watched(index)


def product(number: int) -> IndexLogRecord:
    return records.content(f"p{number}", 1, [records.picture(number)])


def test_it_compacts_what_has_grown(watched: Watched) -> None:
    assert not watched.look()
    assert not watched.look(product(1))
    assert watched.look(product(2))
    assert not watched.look(product(3))
    assert head_numbers(watched.index.store, watched.index.lane, 0) == [1]
    assert watched.outcomes("published") == 1


def test_a_rejected_build_is_tried_again_after_a_pause(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(gate, "RECALL_FLOOR", 1.1)
        assert not watched.look(product(1), product(2))
        assert not watched.look()
        assert (watched.outcomes("rejected"), watched.rejected_in_a_row) == (1, 1)
        watched.clock.advance(601)
        assert not watched.look()
        assert (watched.outcomes("rejected"), watched.rejected_in_a_row) == (2, 2)
        watched.clock.advance(601)
        assert not watched.look()
        assert watched.outcomes("rejected") == 2, "it waits twice as long"
    watched.clock.advance(600)
    assert watched.look()
    assert watched.rejected_in_a_row == 0


def test_the_pause_doubles_with_each_rejection_up_to_six_hours() -> None:
    assert [pause_s(rejected) for rejected in range(5)] == [600, 600, 1200, 2400, 4800]
    assert pause_s(7) == pause_s(10_000) == 6 * 3600


def test_a_generation_made_by_hand_ends_the_pause(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(gate, "RECALL_FLOOR", 1.1)
        assert not watched.look(product(1), product(2))
    assert not watched.look()
    watched.index.compact()
    assert watched.look(product(3), product(4))


def test_a_gate_that_keeps_saying_no_leaves_the_newest_two_builds_and_every_record(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "RECALL_FLOOR", 1.1)
    store, lane = watched.index.store, watched.index.lane
    watched.look(product(1), product(2))
    for rejected in range(1, 6):
        watched.clock.advance(pause_s(rejected))
        watched.look()
    found = rejections(store, lane, 0)
    assert len(found) == 6
    assert {key.split("/")[2] for key in store.list("builds")} == {each.build for each in found[-2:]}
    assert all(store.exists(key) for each in found for key in report_keys(lane, 0, each.build))
    for each in found[:-1]:
        with pytest.raises(StorageError):
            accept(watched.index.log, store, lane, 0, each.build, "because", clock=watched.clock)
    head = accept(watched.index.log, store, lane, 0, found[-1].build, "because", clock=watched.clock)
    assert head.build == found[-1].build


@pytest.mark.parametrize(
    ("error", "outcome"), [(HeadExists("x"), "overtaken"), (DiskFull("x"), "disk-full"), (BrokerUnavailable("x"), None)]
)
def test_what_may_pass_is_left_to_the_next_look(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, error: Exception, outcome: str | None
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("index_nodes.compaction.compactor.compact_once", fails)
        assert not watched.look(product(1), product(2))
    assert outcome is None or watched.outcomes(outcome) == 1
    watched.clock.advance(601)
    assert watched.look()


def test_told_to_stop_it_publishes_nothing(watched: Watched) -> None:
    watched.stops = True
    assert not watched.look(product(1), product(2))
    assert watched.index.store.list("builds") == []
    assert watched.outcomes("rejected") == 0, "stopping is no fault of the build"


@pytest.mark.parametrize(("last", "is_stored"), [("write_generation", False), ("_Attempt._manifest", True)])
def test_told_to_stop_while_it_builds_it_goes_no_further_and_keeps_nothing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, last: str, is_stored: bool
) -> None:
    """``last``: what it is at when it is told; ``is_stored``: whether its files are in the store by then."""
    begun = operator.attrgetter(last)(compaction)

    def told(*arguments: object) -> object:
        watched.stops = True
        return begun(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(f"index_nodes.compaction.compaction.{last}", told)
        assert not watched.look(product(1), product(2))
    assert (watched.index.store.root / "builds").exists() is is_stored
    assert watched.index.store.list("builds") == []
    assert head_numbers(watched.index.store, watched.index.lane, 0) == []
    watched.stops = False
    assert watched.look()


def test_retention_runs_after_a_compaction_and_once_an_hour(watched: Watched) -> None:
    watched.look()
    assert watched.asked == 1
    watched.look()
    assert watched.asked == 1
    watched.look(product(1), product(2))
    assert watched.asked == 2
    watched.clock.advance(3601)
    watched.look()
    assert watched.asked == 3


def test_retention_that_cannot_ask_the_nodes_removes_nothing(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        assert watched.look(product(2 * number), product(2 * number + 1))
        watched.clock.advance(100 * 3600)

    def fails() -> list[NodeStatus]:
        raise BrokerUnavailable("x")

    kept = head_numbers(watched.index.store, watched.index.lane, 0)
    with monkeypatch.context() as patched:
        patched.setattr(watched.watch, "_statuses", fails)
        watched.look()
    assert head_numbers(watched.index.store, watched.index.lane, 0) == kept
    watched.clock.advance(3601)
    watched.look()
    assert head_numbers(watched.index.store, watched.index.lane, 0) == kept[-2:]
