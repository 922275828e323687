"""Reading index-log from explicit offsets: no consumer group, no reset, and never another log (HOLES 5)."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from schemas.errors import LayoutChanged, TransientError
from schemas.lane import Lane
from schemas.layout import LogId, NextOffset
from topics import administration, clients
from topics.declarations import INDEX_LOG
from topics.settings import KafkaSettings

BATCH_RECORDS_MAX = 500
"""A batch is what has arrived, at most so many: a view is then never older than some tens of milliseconds."""
_APART_S = 0.05
"""Batches that are not full are read no closer together: a new view costs as much as many records. The first record
after a pause is not held up."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One record as it lies in the log; ``appended_at_ms`` by the broker's clock."""

    partition: int
    offset: int
    appended_at_ms: int
    raw: bytes | None


@dataclass(frozen=True, slots=True)
class LogBatch:
    """What has arrived. ``ends``: partition → next offset at which nothing more is there for now."""

    entries: Sequence[LogEntry] = ()
    ends: Mapping[int, NextOffset] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogBounds:
    """A log as it is: who it is, and by partition the first offset and the end of what can be read."""

    log_id: LogId
    begin: Mapping[int, NextOffset]
    end: Mapping[int, NextOffset]


class LogReader(Protocol):
    """A position in some partitions of a log."""

    def read(self, timeout_s: float) -> LogBatch:
        """What has arrived, at once; waits for the first record, at most so long.

        Raises:
            LogChanged: a position does not exist. StorageError and SettingsError: stop.
        """
        ...

    def close(self) -> None: ...


class IndexLog(Protocol):
    """The log of a lane."""

    def bounds(self) -> LogBounds:
        """Raises BrokerUnavailable, SettingsError (no such topic)."""
        ...

    def log_id(self) -> LogId:
        """The identity that the log has now; raises as ``bounds``."""
        ...

    def reader(self, positions: Mapping[int, NextOffset]) -> LogReader: ...


def check_bounds(bounds: LogBounds, lane: Lane) -> None:
    """Do nothing if the log has the partitions of the layout.

    Raises:
        LayoutChanged: another number; products would lie in other partitions than they are looked for in.
    """
    if len(bounds.begin) != lane.layout.partitions:
        raise LayoutChanged(
            f"index-log has {len(bounds.begin)} partitions, the layout {lane.layout.layout_id} has "
            f"{lane.layout.partitions}"
        )


def check_positions(bounds: LogBounds, log_id: LogId, positions: Mapping[int, NextOffset]) -> None:
    """Do nothing if reading can go on at these positions of the log ``log_id``.

    Raises:
        LogChanged, LogTruncated.
    """
    for partition, next_offset in positions.items():
        administration.check_position(
            topic=INDEX_LOG,
            partition=partition,
            expected=log_id,
            found=bounds.log_id,
            next_offset=next_offset,
            log_start=bounds.begin[partition],
            log_end=bounds.end[partition],
        )


class KafkaLog:
    """The log on a cluster."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._topic = settings.topic(INDEX_LOG)
        self._admin = clients.admin(settings)

    def bounds(self) -> LogBounds:
        return LogBounds(
            log_id=self.log_id(),
            begin=administration.begin_offsets(self._admin, self._topic),
            end=administration.end_offsets(self._admin, self._topic),
        )

    def log_id(self) -> LogId:
        return administration.describe_log(self._admin, self._topic)

    def offsets_at(self, time_ms: int) -> dict[int, NextOffset]:
        """The end of each partition at a broker time, milliseconds since 1970."""
        return administration.offsets_at(self._admin, self._topic, time_ms)

    def truncate(self, below: Mapping[int, NextOffset]) -> None:
        """Remove the records below these offsets, for ever; raises BrokerUnavailable, SettingsError (not allowed)."""
        administration.delete_records(self._admin, self._topic, below)

    def reader(self, positions: Mapping[int, NextOffset]) -> "KafkaReader":
        # The end of a partition is told even where the last offsets are no records (transaction markers).
        consumer = clients.consumer(self._settings, enable_partition_eof=True)
        consumer.assign([TopicPartition(self._topic, partition, offset) for partition, offset in positions.items()])
        return KafkaReader(consumer)


class KafkaReader:
    """A consumer that was assigned partitions at offsets."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._next_at = 0.0

    def read(self, timeout_s: float) -> LogBatch:
        entries: list[LogEntry] = []
        ends: dict[int, NextOffset] = {}
        # consume(n, timeout) waits until it has n records; so the first alone, then what lies ready.
        first = self._consumer.poll(timeout_s)
        if first is not None and (early_s := self._next_at - time.monotonic()) > 0:
            time.sleep(early_s)
        messages = [] if first is None else [first, *self._consumer.consume(BATCH_RECORDS_MAX - 1, timeout=0)]
        if len(messages) < BATCH_RECORDS_MAX:
            self._next_at = time.monotonic() + _APART_S
        for message in messages:
            error = message.error()
            if error is None:
                entries.append(_entry(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                ends[_partition(message)] = NextOffset(_offset(message))
            else:
                _raise_unless_transient(error)
        return LogBatch(entries, ends)

    def close(self) -> None:
        self._consumer.close()


def _entry(message: Message) -> LogEntry:
    return LogEntry(_partition(message), _offset(message), message.timestamp()[1], message.value())


def _partition(message: Message) -> int:
    partition = message.partition()
    assert partition is not None
    return partition


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None
    return offset


def _raise_unless_transient(error: KafkaError) -> None:
    # A broker that has just started knows no topics for a moment. If ours is really gone, and made again, the check of
    # the log's identity says so.
    missing = error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
    ours = clients.translated(error, "read index-log")
    if not missing and not isinstance(ours, TransientError):
        raise ours
    _log.warning("index-log-unavailable", reason=ours.message)
