"""The watch over sources: reads what became of events, tells what is alarming, and holds a source if it is to.

It reads index-log and dead-letters rather than sitting in the workers: so it costs them nothing, sees all of them
together, and no rebalance concerns it. What it knows and how far it has read are kept as one object, so that a restart
goes on where it was and counts nothing twice. It runs beside the feedback worker, of which there is one.
"""

import threading
from collections.abc import Mapping

import msgspec
import structlog
from confluent_kafka import Consumer, Message, TopicPartition

from processors.watch.sources import Alert, Shown, Watch, kept, restored, shown, source_of
from schemas import framing, index_log
from schemas.clock import Clock, SystemClock
from schemas.errors import FreshlensError, InvalidRecord, SourceHeld, StorageError
from schemas.events import DeadLetter, ProductAdded, ProductRetry
from schemas.framing import SchemaRegistry
from schemas.identity import key_from_bytes
from schemas.index_log import IndexLogRecord
from schemas.lane import Lane
from schemas.metrics import Metrics
from streams.faults import OWN_FAULTS
from streams.settings import StreamsSettings
from streams.watch.holds import Holds
from topics import administration, clients
from topics import declarations as names
from topics.registry import open_registry
from topics.settings import KafkaSettings
from topics.store import ObjectStore, open_store

LOOK_EVERY_S = 2.0
KEEP_EVERY_S = 30.0
REPORT_SOURCES_MAX = 200
_RETRY_S = 5.0
_POLL_BYTES, _POLL_WAIT_MS = 1_048_576, 500
_log = structlog.get_logger()


class SourceReport(msgspec.Struct, frozen=True):
    """One source in its present window, which began at ``began`` (microseconds)."""

    source: str
    began: int
    events: int
    measures: dict[str, Shown]


class WatchReport(msgspec.Struct, frozen=True):
    """What ``freshlens watch`` shows: the sources, alarming ones first, then those seen last."""

    at: int
    sources: tuple[SourceReport, ...]


def read_report(store: ObjectStore, lane: str) -> WatchReport | None:
    """The newest report; None: nothing was watched yet."""
    try:
        return msgspec.json.decode(store.get(_key(lane, "report.json")), type=WatchReport)
    except FileNotFoundError:
        return None


class Watcher:
    """The watch of one lane, in a thread of its own from construction to :meth:`close`."""

    def __init__(self, settings: StreamsSettings, metrics: Metrics, clock: Clock | None = None) -> None:
        self._kafka: KafkaSettings = settings.kafka
        self._lane: Lane = settings.lane
        self._window_us, self._is_holding = settings.watch.window_us, settings.watch.is_holding
        self._metrics, self._clock = metrics, clock or SystemClock()
        self._store = open_store(settings.store)
        self._holds = Holds(self._store)
        self._registry: SchemaRegistry | None = open_registry(settings.kafka)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Keep what is known and stop; blocks for a moment."""
        self._closing.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._follow()
            except (FreshlensError, OSError) as error:
                _log.warning("the watch over sources is interrupted", reason=str(error))
                self._closing.wait(_RETRY_S)
            except Exception:
                _log.exception("the watch over sources failed, and begins again from what it kept")
                self._closing.wait(_RETRY_S)

    def _follow(self) -> None:
        topics = self._topics()
        self._watch, positions = self._restored()
        self._positions = {log: self._begin(topic, positions.get(log)) for log, topic in topics.items()}
        self._logs = {topic: log for log, topic in topics.items()}
        # Nobody waits for the watch, and a poll for each record would cost the broker as much as a node's.
        consumer = clients.consumer(self._kafka, fetch_min_bytes=_POLL_BYTES, fetch_wait_max_ms=_POLL_WAIT_MS)
        try:
            self._assign(consumer)
            self._read(consumer)
        finally:
            consumer.close()

    def _read(self, consumer: Consumer) -> None:
        look_at = keep_at = 0.0
        while not self._closing.is_set():
            for message in consumer.consume(500, 0.2):
                self._take(message)
            now = self._clock.monotonic()
            if now >= look_at:
                self._look()
                look_at = now + LOOK_EVERY_S
            if now >= keep_at:
                self._keep()
                keep_at = now + KEEP_EVERY_S
        self._keep()

    def _topics(self) -> dict[str, str]:
        """identity of a log → its topic's name on the cluster."""
        admin = clients.admin(self._kafka)
        topics = (self._kafka.topic(name) for name in (names.INDEX_LOG, names.DEAD_LETTERS))
        return {str(administration.describe_log(admin, topic)): topic for topic in topics}

    def _begin(self, topic: str, known: Mapping[int, int] | None) -> dict[int, int]:
        """Where to go on: where we were, within what is there; at the end of a log that was never read."""
        admin = clients.admin(self._kafka)
        begins, ends = administration.begin_offsets(admin, topic), administration.end_offsets(admin, topic)
        if known is None:
            return dict(ends)
        return {each: min(max(known.get(each, end), begins[each]), end) for each, end in ends.items()}

    def _assign(self, consumer: Consumer) -> None:
        consumer.assign(
            [
                TopicPartition(topic, partition, offset)
                for topic, log in self._logs.items()
                for partition, offset in self._positions[log].items()
            ]
        )

    def _take(self, message: Message) -> None:
        if (error := message.error()) is not None:
            if error.retriable():
                return
            raise clients.translated(error, "read index-log and dead-letters")
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        raw, now_us = message.value(), self._clock.now_us()
        assert not isinstance(raw, str)
        if topic == self._kafka.topic(names.INDEX_LOG):
            record = index_log.read(raw, partition=partition, layout=self._lane.layout, space=self._lane.space)
            if isinstance(record, IndexLogRecord):
                self._watch.indexed(record, now_us)
        else:
            self._refused(raw, now_us)
        self._positions[self._logs[topic]][partition] = offset + 1

    def _refused(self, raw: bytes | None, now_us: int) -> None:
        try:
            letter = framing.DEAD_LETTERS.decode(raw or b"", DeadLetter)
        except InvalidRecord:
            return
        if letter.source.topic not in (*names.ADDS, names.PRODUCT_RETRY):
            return
        if letter.code in OWN_FAULTS or letter.code == SourceHeld.code:
            return
        source = source_of_letter(letter, self._registry)
        if source is not None:
            self._watch.refused(source, now_us)

    def _look(self) -> None:
        for alert in self._watch.alarms(self._clock.now_us()):
            self._tell(alert)
        alarming = sum(bool(state.alerts) for state in self._watch.sources.values())
        self._metrics.gauge("freshlens_watch_alarming_sources", alarming)
        self._store.put(_key(self._lane.name, "report.json"), msgspec.json.encode(self._report()))

    def _tell(self, alert: Alert) -> None:
        spike = alert.spike
        self._metrics.count("freshlens_watch_alerts_total", measure=spike.measure)
        reason = f"{spike.measure} {spike.value:.1%} of {spike.of}, normally {spike.norm:.1%}"
        _log.error("a source is unlike itself", source=alert.source, measure=spike.measure, reason=reason)
        if self._is_holding:
            self._hold(alert.source, reason)

    def _hold(self, source: str, reason: str) -> None:
        now_us, known = self._clock.now_us(), self._holds.of(source)
        if known is not None and (known.released_until or 0) > now_us:
            return  # somebody looked at it and let it through
        self._holds.hold(source, reason, now_us)
        _log.error("the source is held; see `freshlens watch`", source=source, reason=reason)

    def _report(self) -> WatchReport:
        newest = reversed([*self._watch.sources.items()])
        first = sorted(newest, key=lambda each: not each[1].alerts)
        return WatchReport(
            self._clock.now_us(),
            tuple(
                SourceReport(name, state.window.began, state.window.events, shown(state))
                for name, state in first[:REPORT_SOURCES_MAX]
            ),
        )

    def _restored(self) -> tuple[Watch, dict[str, dict[int, int]]]:
        try:
            return restored(self._store.get(_key(self._lane.name, "state")), self._window_us)
        except FileNotFoundError:
            pass
        except (ValueError, StorageError) as error:
            _log.warning("what the watch kept cannot be read; it begins anew", reason=str(error))
        return Watch(self._window_us), {}

    def _keep(self) -> None:
        self._store.put(_key(self._lane.name, "state"), kept(self._watch, self._positions))


def source_of_letter(letter: DeadLetter, registry: SchemaRegistry | None) -> str | None:
    """The source of a dead letter; its tenant, where its own bytes cannot tell; None where nothing does."""
    try:
        event = added_in(letter.source.topic, letter.value or b"", registry)
        return source_of(event.tenant, event.content, event.offer)
    except FreshlensError:
        pass
    try:
        return key_from_bytes(letter.key or b"").tenant
    except InvalidRecord:
        return None


def added_in(topic: str, raw: bytes, registry: SchemaRegistry | None) -> ProductAdded:
    """The event within the bytes of a record of product-added, its hot lane or product-retry; raises InvalidRecord."""
    if topic == names.PRODUCT_RETRY:
        raw = framing.PRODUCT_RETRY.decode(raw, ProductRetry).event
    return framing.PRODUCT_ADDED.decode(raw, ProductAdded, registry)


def _key(lane: str, name: str) -> str:
    return f"watch/{lane}/{name}"
