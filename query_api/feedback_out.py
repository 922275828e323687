"""Searches and clicks on their way out to Kafka, off the request path. A full buffer drops and counts."""

import threading
from collections import deque

import msgspec
import structlog
from confluent_kafka import KafkaError, Message

from schemas.errors import FreshlensError
from schemas.feedback import Click, Search
from schemas.framing import CODECS
from schemas.metrics import Metrics
from topics import clients
from topics.declarations import CLICKS, SEARCHES
from topics.registry import open_registry
from topics.settings import KafkaSettings

log = structlog.get_logger()

QUEUED_MAX = 10_000
_TURN_S = 0.05
"""Records wait for so long, so that many are sent in one turn: waking up for each would hold up searches."""
_LINGER_MS = {SEARCHES: 500, CLICKS: 2}
"""Searches are many, and a batch costs the broker as much as many records in it. A click is worth more than one of
them, and what lingers is lost where the process is killed."""
_CLOSE_S = 5.0
_Record = tuple[str, str, msgspec.Struct]


class FeedbackOut:
    """Takes records without ever blocking; :class:`FeedbackThread` carries them away."""

    def __init__(self, metrics: Metrics, queued_max: int = QUEUED_MAX) -> None:
        self._metrics = metrics
        self._queued_max = queued_max
        self.records: deque[_Record] = deque()

    def searched(self, search: Search) -> bool:
        """Hand over a search; False if it was dropped."""
        return self._put(SEARCHES, search.query_id, search)

    def clicked(self, click: Click) -> bool:
        """Hand over a click; False if it was dropped."""
        return self._put(CLICKS, click.query_id, click)

    def _put(self, topic: str, key: str, record: msgspec.Struct) -> bool:
        if len(self.records) >= self._queued_max:
            self._metrics.count("freshlens_feedback_dropped_total", topic=topic, reason="queue-full")
            return False
        self.records.append((topic, key, record))
        self._metrics.count("freshlens_feedback_total", topic=topic)
        return True


class FeedbackThread:
    """Encodes and produces what FeedbackOut took; the only user of its producers."""

    def __init__(self, kafka: KafkaSettings, out: FeedbackOut, metrics: Metrics) -> None:
        self._kafka = kafka
        self._out = out
        self._metrics = metrics
        self._producers = {
            # One request at a time: nobody looks at what is confirmed, see clients.refusal.
            topic: clients.producer(
                kafka, linger_ms=linger_ms, delivery_report_only_error=True, max_in_flight_requests_per_connection=1
            )
            for topic, linger_ms in _LINGER_MS.items()
        }
        self._registry = open_registry(kafka)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feedback-out", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send what is there and stop; blocks up to about fifteen seconds when no broker answers."""
        self._closing.set()
        self._thread.join(_CLOSE_S)
        if left := sum([producer.flush(_CLOSE_S) for producer in self._producers.values()]):
            log.warning("feedback unconfirmed at stop", records=left)

    def _run(self) -> None:
        records = self._out.records
        while records or not self._closing.wait(_TURN_S):
            while records:
                self._produce(*records.popleft())
            for producer in self._producers.values():
                producer.poll(0)

    def _produce(self, topic: str, key: str, record: msgspec.Struct) -> None:
        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                self._dropped(topic, "undelivered")

        try:
            with clients.kafka_errors(f"produce to {topic}"):
                self._producers[topic].produce(
                    self._kafka.topic(topic), self._encoded(topic, record), key.encode(), on_delivery=delivered
                )
        except FreshlensError as error:
            self._dropped(topic, error.code)
        except Exception:
            log.exception("feedback lost", topic=topic)
            self._dropped(topic, "internal")

    def _encoded(self, topic: str, record: msgspec.Struct) -> bytes:
        codec = CODECS[topic]
        if self._registry is None:
            return codec.encode(record)
        subject = f"{self._kafka.topic(topic)}-value"
        return codec.encode_confluent(record, self._registry.id_of(subject, codec.schema))

    def _dropped(self, topic: str, reason: str) -> None:
        self._metrics.count("freshlens_feedback_dropped_total", topic=topic, reason=reason)
