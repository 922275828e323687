"""The thread that reads node-status and index-progress and hands them to the event loop."""

import asyncio
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from query_api.shards.cluster import Cluster
from schemas.errors import FreshlensError, InvalidRecord
from schemas.framing import INDEX_PROGRESS, NODE_STATUS
from schemas.node_status import NodeStatus
from schemas.progress import ProgressFact
from topics import administration, clients, declarations
from topics.settings import KafkaSettings

log = structlog.get_logger()

_FACTS_S = 3_600
"""Facts are kept for an hour; one of them is as good as the next, so reading begins there."""
_POLL_S = 0.1
_BATCH = 500
_RETRY_S = 1.0


@dataclass(slots=True)
class _News:
    """What one batch says; of a node's statuses only the last, by its id."""

    statuses: dict[str, NodeStatus] = field(default_factory=dict)
    earlier: dict[str, NodeStatus] = field(default_factory=dict)
    facts: list[ProgressFact] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def tell(self, cluster: Cluster) -> None:
        cluster.learn(
            statuses=list(self.statuses.values()),
            earlier=list(self.earlier.values()),
            facts=self.facts,
            gone=self.gone,
        )


class ClusterFeed:
    """Follows both topics by assign and seek: every API process reads all of it, so there is no consumer group."""

    def __init__(self, kafka: KafkaSettings, cluster: Cluster) -> None:
        self._kafka = kafka
        self._cluster = cluster
        self._closing = threading.Event()
        self._began_at = 0
        """Where node-status ended when we began to read it."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="cluster-feed", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop and wait for the thread; blocks for a fraction of a second."""
        self._closing.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._follow()
            except FreshlensError as error:
                log.warning("cluster feed interrupted", code=error.code, error=error.message)
                self._closing.wait(_RETRY_S)
            except Exception:
                log.exception("cluster feed failed")
                self._closing.wait(_RETRY_S)

    def _follow(self) -> None:
        self._hand_over(self._cluster.learn_logs, self._log_ids())
        # Facts stay true for ever and statuses are compacted: beginning again loses nothing.
        consumer = clients.consumer(self._kafka, auto_offset_reset="earliest")
        try:
            with clients.kafka_errors("read node-status and index-progress"):
                consumer.assign(self._start(consumer))
                while not self._closing.is_set():
                    # consume(n, timeout) waits until it has n; so the first alone, then what lies ready.
                    if (first := consumer.poll(_POLL_S)) is not None:
                        self._take([first, *consumer.consume(_BATCH - 1, 0)])
        finally:
            consumer.close()

    def _log_ids(self) -> dict[str, str]:
        admin = clients.admin(self._kafka)
        names = (*declarations.INPUTS, declarations.INDEX_LOG)
        return {name: str(administration.describe_log(admin, self._kafka.topic(name))) for name in names}

    def _start(self, consumer: Consumer) -> list[TopicPartition]:
        statuses = self._kafka.topic(declarations.NODE_STATUS)
        self._began_at = administration.end_offsets(clients.admin(self._kafka), statuses)[0]
        since_ms = int((time.time() - _FACTS_S) * 1000)
        progress = self._kafka.topic(declarations.INDEX_PROGRESS)
        facts = consumer.offsets_for_times([TopicPartition(progress, 0, since_ms)], timeout=10)
        return [TopicPartition(statuses, 0, OFFSET_BEGINNING), *facts]

    def _take(self, messages: Iterable[Message]) -> None:
        news = _News()
        for message in messages:
            if (error := message.error()) is not None:
                if error.retriable():
                    continue
                raise clients.translated(error, "read node-status and index-progress")
            self._sort(message, news)
        self._hand_over(news.tell, self._cluster)

    def _sort(self, message: Message, news: "_News") -> None:
        raw, key = message.value(), message.key()
        try:
            if message.topic() == self._kafka.topic(declarations.INDEX_PROGRESS):
                news.facts.append(INDEX_PROGRESS.decode(raw or b"", ProgressFact))
            elif raw is None:
                news.gone.append((key or b"").decode(errors="replace"))
            else:
                status = NODE_STATUS.decode(raw, NodeStatus)
                (news.earlier if (message.offset() or 0) < self._began_at else news.statuses)[status.node_id] = status
        except InvalidRecord as error:
            log.warning("record ignored", topic=message.topic(), offset=message.offset(), code=error.code)

    def _hand_over(self, learn, *arguments) -> None:  # type: ignore[no-untyped-def]
        if not self._closing.is_set():
            self._loop.call_soon_threadsafe(learn, *arguments)
