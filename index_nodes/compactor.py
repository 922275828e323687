"""The compactor: one process that makes new generations on a schedule, and when the log behind one has grown."""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from index_nodes.compaction import CompactionReport, compact_once
from index_nodes.heads import Head, newest_head
from index_nodes.log import IndexLog, KafkaLog
from index_nodes.manifest import read_manifest
from index_nodes.settings import CompactorSettings
from schemas.errors import BuildRejected, FreshlensError, HeadExists, TransientError
from schemas.metrics import Metrics
from topics.store import ObjectStore, open_store

_log = structlog.get_logger()
_REJECTED_PAUSE_S = 600.0
"""After a rejected build: the same input would fail again, and building it costs a core."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How much log lies behind a head; bytes are estimated from what records weighed before."""

    records: int
    log_bytes: int


def growth_of(next_offsets: Mapping[str, int], end: Mapping[int, int], record_bytes_mean: float) -> Growth:
    """The log behind these offsets. ``end`` may hold partitions of other shards."""
    records = sum(end[int(partition)] - offset for partition, offset in next_offsets.items())
    return Growth(records, int(records * record_bytes_mean))


def why_compact(settings: CompactorSettings, growth: Growth, last_at: datetime | None, now: datetime) -> str | None:
    """The reason to compact now, None if there is none; pure.

    Args:
        last_at: when the newest head was made, or the compactor started if there is none; local time.
        now: local time.
    """
    if growth.records == 0:
        return None
    if growth.records >= settings.records_max:
        return f"{growth.records} records since the last generation"
    if growth.log_bytes >= settings.log_bytes_max:
        return f"about {growth.log_bytes} bytes of log since the last generation"
    if settings.at is not None and last_at is not None and last_at < _last_due(settings.at, now):
        return f"daily at {settings.at}"
    return None


def _last_due(at: str, now: datetime) -> datetime:
    """The last time of day ``at`` that is not after now."""
    hour, minute = map(int, at.split(":"))
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today if today <= now else today - timedelta(days=1)


def run(settings: CompactorSettings, metrics: Metrics, on_ready: Callable[[], None]) -> None:
    """Compact every shard of the lane when it is due, until SIGTERM or SIGINT; a build in hand is dropped.

    Raises:
        StorageError, SettingsError: their docstrings say what the operator does.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    log, store = KafkaLog(settings.kafka), open_store(settings.store)
    on_ready()
    watch = Watch(settings, log, store, metrics, stopping)
    while not stopping.wait(settings.poll_s):
        for shard in range(settings.lane.layout.shards):
            watch.look(shard)


class Watch:
    """Looks at each shard and compacts it when that is due."""

    def __init__(
        self,
        settings: CompactorSettings,
        log: IndexLog,
        store: ObjectStore,
        metrics: Metrics,
        stopping: threading.Event,
    ) -> None:
        self._settings, self._index_log, self._store = settings, log, store
        self._metrics, self._stopping = metrics, stopping
        self._started_at = datetime.now().astimezone()
        self._paused_until: dict[int, float] = {}

    def look(self, shard: int) -> CompactionReport | None:
        """Compact the shard if there is a reason to; the report, if that was done.

        Raises:
            StorageError: but for HeadExists and BuildRejected, which are counted and left to the next look.
        """
        if time.monotonic() < self._paused_until.get(shard, 0.0):
            return None
        try:
            reason = self._reason(shard)
            return self._compacted(shard, reason) if reason else None
        except TransientError as error:
            _log.warning("compaction-waits", shard=shard, reason=error.message)
        except HeadExists as error:
            self._ended(error, "overtaken")
        except BuildRejected as error:
            self._paused_until[shard] = time.monotonic() + _REJECTED_PAUSE_S
            self._ended(error, "rejected")
        return None

    def _reason(self, shard: int) -> str | None:
        lane = self._settings.lane
        head = newest_head(self._store, lane, shard)
        end = self._index_log.bounds().end
        growth = self._growth(shard, head, end)
        last_at = datetime.fromtimestamp(head.created_at_us / 1e6).astimezone() if head else self._started_at
        return why_compact(self._settings, growth, last_at, datetime.now().astimezone())

    def _growth(self, shard: int, head: Head | None, end: Mapping[int, int]) -> Growth:
        if head is None:
            nothing = dict.fromkeys(map(str, self._settings.lane.layout.partitions_of(shard)), 0)
            return growth_of(nothing, end, 0.0)
        manifest = read_manifest(self._store, shard, head.build, head.manifest_checksum)
        return growth_of(head.next_offsets, end, manifest.record_bytes_mean)

    def _compacted(self, shard: int, reason: str) -> CompactionReport:
        _log.info("compaction-starts", shard=shard, reason=reason)
        report = compact_once(
            self._index_log,
            self._store,
            self._settings.lane,
            shard,
            metrics=self._metrics,
            reason=reason,
            should_stop=self._stopping.is_set,
        )
        self._metrics.count("freshlens_compactions_total", outcome="published")
        return report

    def _ended(self, error: FreshlensError, outcome: str) -> None:
        self._metrics.count("freshlens_compactions_total", outcome=outcome)
        _log.warning("compaction-ended", outcome=outcome, reason=error.message)
