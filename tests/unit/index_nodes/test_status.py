"""What a node says of itself."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from index_nodes.products.digest import Digest, Mark
from index_nodes.replicas.follower import Follower
from index_nodes.settings import NodeSettings
from index_nodes.states import NodeState
from index_nodes.status import Reporter, disagreements
from schemas.clock import ManualClock
from schemas.framing import NODE_STATUS
from schemas.metrics import RecordingMetrics
from schemas.node_status import NodeStatus
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from topics import clients
from topics.settings import KafkaSettings

NOW_US = 1_795_000_000_123_456


class Producer:
    """Keeps what would be sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, bytes]] = []

    def produce(self, topic: str, value: bytes, key: bytes) -> None:
        self.sent.append((topic, value, key))


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> Producer:
    made = Producer()
    monkeypatch.setattr(clients, "producer", lambda _: made)
    return made


def reporter_of(index: Index, **follower: Any) -> Reporter:
    settings = NodeSettings(KafkaSettings("kafka:9092"), index.lane, "/nowhere", node_id="n0")
    followed = SimpleNamespace(**{"replica": index.replica, "state": NodeState.SERVING, **follower})
    return Reporter(settings, cast(Follower, followed), "http://n0:1", ManualClock(NOW_US), RecordingMetrics())


def test_a_report_says_what_is_served_and_when_in_microseconds(index: Index, producer: Producer) -> None:
    index.apply(records.content("a", 1, [records.picture(1)]))
    reporter_of(index).report()
    ((topic, value, key),) = producer.sent
    status = NODE_STATUS.decode(value, NodeStatus)
    assert (topic, key) == ("node-status", b"n0")
    assert status.reported_at == NOW_US
    assert (status.node_id, status.url, status.state, status.products) == ("n0", "http://n0:1", "serving", 1)
    assert sum(status.applied.values()) == 1


def test_a_node_without_a_replica_says_nothing(index: Index, producer: Producer) -> None:
    reporter_of(index, replica=None, state=NodeState.STARTING).report()
    assert producer.sent == []


def test_nodes_that_differ_at_one_offset_are_named(index: Index, producer: Producer) -> None:
    index.apply(records.content("a", 1, [records.picture(1)]))
    reporter_of(index).report()
    status = NODE_STATUS.decode(producer.sent[0][1], NodeStatus)

    def reported(node_id: str, mark: Mark, lane: str = "main") -> NodeStatus:
        return replace(status, node_id=node_id, lane=lane, digests={"0": str(mark)})

    one, other = Mark(10_000, Digest(1, 5)), Mark(10_000, Digest(2, 5))
    assert disagreements([reported("n0", one), reported("n1", other)]) == [
        "n0 and n1 differ at index-log 0, offset 10000"
    ]
    forgotten, further = Mark(10_000, Digest(1, 0)), Mark(20_000, Digest(2, 5))
    assert disagreements([reported("n0", one), reported("n1", forgotten), reported("n2", further)]) == []
    assert disagreements([reported("n0", one), reported("n1", other, lane="b")]) == []
