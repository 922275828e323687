"""What a node says of itself on node-status, and what others read there."""

import asyncio
import time
from collections.abc import Iterable, Mapping

import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from index_nodes.products.digest import Mark
from index_nodes.replicas.follower import Follower
from index_nodes.settings import NodeSettings
from schemas.clock import Clock
from schemas.errors import FreshlensError, InvalidRecord
from schemas.framing import NODE_STATUS
from schemas.metrics import Metrics
from schemas.node_status import NodeStatus
from topics import clients
from topics.declarations import NODE_STATUS as NODE_STATUS_TOPIC
from topics.settings import KafkaSettings

_CHANGED_S = 0.2
"""A change is told at most so often."""
_IDLE_S = 2.0
"""And this often without a change, as a sign of life."""

_log = structlog.get_logger()


class Reporter:
    """Publishes a node's status from its event loop; losing one is harmless, as another follows."""

    def __init__(self, settings: NodeSettings, follower: Follower, url: str, clock: Clock, metrics: Metrics) -> None:
        self._settings, self._follower, self._url, self._clock, self._metrics = settings, follower, url, clock, metrics
        self._producer = clients.producer(settings.kafka)
        self._topic = settings.kafka.topic(NODE_STATUS_TOPIC)

    async def run(self) -> None:
        """Report until cancelled."""
        told: tuple[object, ...] | None = None
        told_at = 0.0
        while True:
            state = self._observed()
            now = time.monotonic()
            if state != told or now - told_at >= _IDLE_S:
                self.report()
                told, told_at = state, now
            self._producer.poll(0)
            await asyncio.sleep(_CHANGED_S)

    def report(self) -> None:
        """Publish the status as it is now."""
        if (status := self._status()) is None:
            return
        self._metrics.gauge("freshlens_index_products", status.products)
        self._metrics.gauge("freshlens_index_rows", status.delta_rows, part="delta")
        try:
            with clients.kafka_errors("publish node-status"):
                self._producer.produce(self._topic, NODE_STATUS.encode(status), self._settings.node_id.encode())
        except FreshlensError as error:
            _log.warning("node-status-unsent", reason=error.message)

    def close(self) -> None:
        """Say the last thing, and wait a moment for it to be said."""
        self.report()
        self._producer.flush(1.0)

    def _observed(self) -> tuple[object, ...]:
        replica = self._follower.replica
        applied = tuple(replica.view.offsets.applied.values()) if replica else ()
        return (self._follower.state, replica.seq if replica else 0, applied)

    def _status(self) -> NodeStatus | None:
        replica = self._follower.replica
        if replica is None:
            return None
        view, lane = replica.view, self._settings.lane
        return NodeStatus(
            node_id=self._settings.node_id,
            url=self._url,
            shard=self._settings.shard,
            replica=self._settings.replica,
            layout_id=lane.layout.layout_id,
            lane=lane.name,
            space=str(lane.space),
            log_id=str(replica.log_id),
            state=self._follower.state.value,
            generation=replica.seq,
            applied={str(partition): int(offset) for partition, offset in view.offsets.applied.items()},
            products=view.products,
            delta_rows=len(view.delta.slots),
            reported_at=self._clock.now_us(),
            masked={str(partition): int(offset) for partition, offset in view.offsets.masked.items()},
            digests={str(partition): str(mark) for partition, mark in replica.applier.marks.items()},
        )


def disagreements(statuses: Iterable[NodeStatus]) -> list[str]:
    """Where two nodes folded the same log up to the same offset into something else (HOLES 24), in words; pure.

    What is live is compared; tombstones are forgotten by compactions, and nodes may serve different ones.
    """
    first: dict[tuple[str, str, str, int], tuple[str, int]] = {}
    found = []
    for status in sorted(statuses, key=lambda status: status.node_id):
        for partition, text in sorted(status.digests.items()):
            mark = Mark.parse(text)
            where = (status.lane, status.log_id, partition, mark.offset)
            node_id, live = first.setdefault(where, (status.node_id, mark.digest.live))
            if live != mark.digest.live:
                found.append(f"{node_id} and {status.node_id} differ at index-log {partition}, offset {mark.offset}")
    return found


def read_statuses(settings: KafkaSettings, timeout_s: float = 10.0) -> Mapping[str, NodeStatus]:
    """The newest status of every node that ever reported, by node id.

    Raises:
        BrokerUnavailable, SettingsError: there is no such topic.
    """
    consumer = clients.consumer(settings, enable_partition_eof=True, auto_offset_reset="earliest")
    statuses: dict[str, NodeStatus] = {}
    deadline = time.monotonic() + timeout_s
    try:
        consumer.assign([TopicPartition(settings.topic(NODE_STATUS_TOPIC), 0, OFFSET_BEGINNING)])
        while time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is None:
                continue
            if (error := message.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    break
                raise clients.translated(error, "read node-status")
            try:
                status = NODE_STATUS.decode(message.value() or b"", NodeStatus)
            except InvalidRecord:
                continue  # a tombstone, or nothing of ours
            statuses[status.node_id] = status
    except KafkaException as error:
        raise clients.translated(error.args[0], "read node-status") from error
    finally:
        consumer.close()
    return statuses
