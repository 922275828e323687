"""What a node does from its start to a newer head, step by step."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from index_nodes.compaction.compaction import compact_once
from index_nodes.compaction.publication import roll_back
from index_nodes.generations.manifest import build_key
from index_nodes.replicas.serving import Serving
from index_nodes.rows.graph import InlineBuilder
from index_nodes.settings import NodeSettings
from index_nodes.states import IllegalTransition, NodeEvent, NodeState
from schemas.clock import ManualClock
from schemas.errors import BrokerUnavailable, DigestMismatch, LogChanged, LogTruncated
from schemas.layout import LogId
from schemas.metrics import RecordingMetrics
from tests.unit.index_nodes import records
from topics.settings import KafkaSettings
from topics.store import FileStore

RED = records.picture(1)
LANE = records.lane_of()


class Node:
    """A node over a log in memory."""

    def __init__(self, folder: Path, rows_max: int = 1000) -> None:
        self.log, self.store = records.MemoryLog(LANE), FileStore(folder)
        self.rows_max = rows_max
        self.serving = self.started()

    def started(self) -> Serving:
        settings = NodeSettings(KafkaSettings(""), LANE, "", delta_rows_max=self.rows_max)
        return Serving(
            settings,
            self.log,
            self.store,
            ManualClock(),
            RecordingMetrics(),
            new_builder=InlineBuilder,
            block_rows=16,
        )

    def write(self, *items: records.IndexLogRecord) -> None:
        for item in items:
            self.log.append(item)

    def settle(self) -> None:
        while self.serving.step(0):
            pass

    @property
    def products(self) -> int:
        assert self.serving.replica is not None
        return self.serving.replica.view.products


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.serving.close()


def some(version: int = 1, count: int = 20) -> list[records.IndexLogRecord]:
    return [records.content(f"p{n}", version, [RED]) for n in range(count)]


def test_it_answers_once_it_has_what_was_there_at_the_start(node: Node) -> None:
    node.write(*some())
    node.serving.open()
    assert node.serving.state is NodeState.CATCHING_UP
    assert not node.serving.answers
    node.settle()
    assert node.serving.state is NodeState.SERVING
    assert node.serving.answers
    assert node.products == 20


def test_a_broker_that_is_away_is_asked_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise BrokerUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(node.log, "bounds", away)
        with pytest.raises(BrokerUnavailable):
            node.serving.open()
    node.serving.open()
    node.settle()
    assert node.serving.state is NodeState.SERVING


def test_a_newer_head_is_taken_over_and_a_rollback_too(node: Node) -> None:
    node.write(*some())
    node.serving.open()
    node.settle()
    for expected in (1, 2, 3):
        node.write(*some(expected + 1))
        if expected == 3:
            roll_back(node.log, node.store, LANE, 0, 1)
        else:
            compact_once(node.log, node.store, LANE, 0)
        node.serving.look_for_head()
        node.settle()
        assert node.serving.replica is not None
        assert node.serving.replica.seq == expected
        versions = {node.serving.replica.view.state(slot).content_version for slot in range(20)}
        assert versions == {expected + 1}, "a rollback loses nothing that was published since"


def test_a_damaged_generation_is_refused_and_the_old_one_goes_on(node: Node) -> None:
    node.write(*some())
    node.serving.open()
    node.settle()
    head = compact_once(node.log, node.store, LANE, 0).head
    assert head is not None
    (node.store.local_path(build_key(0, head.build)) / "products.arrow").write_bytes(b"")
    node.serving.look_for_head()
    node.write(records.delete("p0", 9))
    node.settle()
    assert node.serving.replica is not None
    assert (node.serving.replica.seq, node.products) == (0, 19)


def test_a_full_delta_at_the_start_answers_and_is_not_ready(tmp_path: Path) -> None:
    node = Node(tmp_path, rows_max=4)
    node.write(*some(count=10))
    node.serving.open()
    node.settle()
    node.write(*some())  # the second half finds the delta full
    node.settle()
    assert node.products == 10
    node.write(records.delete("p0", 9))
    node.settle()
    assert node.products == 9
    again = node.started()
    again.open()
    while again.step(0):
        pass
    assert again.answers
    assert again.replica is not None
    assert again.replica.view.products in (9, 19)
    compact_once(node.log, node.store, LANE, 0)
    again.look_for_head()
    while again.step(0):
        pass
    assert again.state is NodeState.SERVING
    assert again.replica is not None
    assert again.replica.view.products == 19
    for serving in (node.serving, again):
        serving.close()


def test_another_log_stops_it(node: Node) -> None:
    node.write(*some())
    node.serving.open()
    node.settle()
    node.serving.check_log()
    node.log.id = LogId("cluster", "made again")
    with pytest.raises(LogChanged):
        node.serving.check_log()


def test_a_log_that_was_cut_without_a_generation_stops_it(node: Node) -> None:
    node.write(*some())
    node.log.begin = [1, 1, 1, 1]
    with pytest.raises(LogTruncated):
        node.serving.open()


def test_what_differs_from_the_log_is_not_served_on(node: Node) -> None:
    node.write(*some())
    node.serving.open()
    node.settle()
    assert node.serving.replica is not None
    digests = node.serving.replica.applier._digests
    digests[0] = digests[0] + digests[1]  # as if a bit had flipped
    node.write(records.content("q", 1, [RED]))
    node.settle()
    compact_once(node.log, node.store, LANE, 0)
    node.serving.look_for_head()
    with pytest.raises(DigestMismatch):
        node.settle()


def test_a_node_that_ended_moves_no_more(node: Node) -> None:
    node.serving.open()
    node.serving.advance(NodeEvent.STOP)
    node.serving.advance(NodeEvent.CAUGHT_UP)
    assert node.serving.state is NodeState.DRAINING
    node.serving.advance(NodeEvent.DRAINED)
    assert node.serving.state is NodeState.STOPPED


def test_an_impossible_step_is_our_own_bug(node: Node) -> None:
    with pytest.raises(IllegalTransition):
        node.serving.advance(NodeEvent.CAUGHT_UP)
