"""The compactor: one process that makes new generations on a schedule, and when the log behind one has grown."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from index_nodes.compaction.compaction import CompactionReport, compact_once
from index_nodes.compaction.retention import TruncatableLog, collect
from index_nodes.generations.heads import Head, newest_head, rejected_in_a_row, rejections
from index_nodes.generations.manifest import read_manifest
from index_nodes.replicas.log import KafkaLog
from index_nodes.settings import CompactorSettings
from index_nodes.status import read_statuses
from schemas.clock import Clock, SystemClock
from schemas.errors import (
    BuildRejected,
    DiskFull,
    FreshlensError,
    HeadExists,
    ManifestCorrupt,
    SettingsError,
    TransientError,
)
from schemas.metrics import Metrics
from schemas.node_status import NodeStatus
from topics.store import ObjectStore, open_store

_log = structlog.get_logger()
_NICENESS = 10
_PAUSE_S = 600
_PAUSE_S_MAX = 6 * 3600
_COLLECT_S = 3600.0
_ALARMING = 2
"""So many builds rejected in a row are more than bad luck."""


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


def pause_s(rejected: int) -> int:
    """Seconds until a shard is built again after so many rejections in a row, or after a full disk (0); pure.

    The same would fail again, and building costs a core and a whole generation's room.
    """
    return min(_PAUSE_S << max(0, rejected - 1), _PAUSE_S_MAX)


def give_way() -> None:
    """Let searches have the cores first: what compacts has hours, and who searches has milliseconds."""
    os.nice(_NICENESS)


def run(settings: CompactorSettings, metrics: Metrics, on_ready: Callable[[], None]) -> None:
    """Compact every shard of the lane when it is due, until SIGTERM or SIGINT; a build in hand is dropped.

    Raises:
        StorageError, SettingsError: their docstrings say what the operator does.
    """
    give_way()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    watch = Watch(
        settings,
        KafkaLog(settings.kafka),
        open_store(settings.store),
        metrics,
        lambda: read_statuses(settings.kafka).values(),
        should_stop=stopping.is_set,
    )
    on_ready()
    while not stopping.wait(settings.poll_s):
        for shard in range(settings.lane.layout.shards):
            watch.look(shard)


class Watch:
    """Looks at each shard: compacts it when that is due, and then, and once an hour, removes what is past keeping.

    Args:
        statuses: what the nodes last said of themselves.
    """

    def __init__(
        self,
        settings: CompactorSettings,
        log: TruncatableLog,
        store: ObjectStore,
        metrics: Metrics,
        statuses: Callable[[], Iterable[NodeStatus]],
        *,
        should_stop: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
    ) -> None:
        self._settings, self._index_log, self._store = settings, log, store
        self._metrics, self._statuses, self._should_stop = metrics, statuses, should_stop
        self._clock = clock or SystemClock()
        self._started_at = self._local_time(self._clock.now_us())
        self._paused: dict[int, tuple[Head | None, float]] = {}
        """By shard, until when, and the head that was to be followed: another one ends the pause."""
        self._collect_at: dict[int, float] = {}

    def look(self, shard: int) -> CompactionReport | None:
        """Compact the shard if there is a reason to; the report, if a generation was published.

        Raises:
            StorageError: but for HeadExists, BuildRejected and DiskFull, which are counted and left to the next look.
        """
        report = self._attempt(shard)
        if report is not None or self._clock.monotonic() >= self._collect_at.get(shard, 0.0):
            self._collect(shard)
        return report

    def _attempt(self, shard: int) -> CompactionReport | None:
        try:
            return self._unless_paused(shard, newest_head(self._store, self._settings.lane, shard))
        except TransientError as error:
            _log.warning("compaction-waits", shard=shard, reason=error.message)
        except HeadExists as error:
            self._ended(shard, error, "overtaken")
        return None

    def _unless_paused(self, shard: int, head: Head | None) -> CompactionReport | None:
        if self._is_paused(shard, head):
            return None
        try:
            reason = self._reason(shard, head)
            return self._compacted(shard, reason) if reason else None
        except DiskFull as error:
            self._pause(shard, head, 0)
            self._ended(shard, error, error.code)
        except BuildRejected as error:
            self._pause(shard, head, self._ended(shard, error, "rejected"))
            self._collect_at[shard] = self._clock.monotonic()  # its build takes the place of an older one
        return None

    def _pause(self, shard: int, head: Head | None, rejected: int) -> None:
        self._paused[shard] = head, self._clock.monotonic() + pause_s(rejected)

    def _is_paused(self, shard: int, head: Head | None) -> bool:
        followed, until = self._paused.get(shard, (None, 0.0))
        return head == followed and self._clock.monotonic() < until

    def _collect(self, shard: int) -> None:
        self._collect_at[shard] = self._clock.monotonic() + _COLLECT_S
        settings = self._settings
        try:
            self._tell_rejections(shard)
            statuses = self._statuses()
            collect(
                self._index_log,
                self._store,
                settings.lane,
                shard,
                statuses,
                settings.retention,
                self._metrics,
                self._clock,
            )
        except (TransientError, SettingsError, ManifestCorrupt) as error:
            # Nothing is lost by keeping more than is needed, so the compactor goes on.
            _log.warning("retention-waits", shard=shard, code=error.code, reason=error.message)

    def _reason(self, shard: int, head: Head | None) -> str | None:
        end = self._index_log.bounds().end
        growth = self._growth(shard, head, end)
        last_at = self._local_time(head.created_at_us) if head else self._started_at
        return why_compact(self._settings, growth, last_at, self._local_time(self._clock.now_us()))

    def _growth(self, shard: int, head: Head | None, end: Mapping[int, int]) -> Growth:
        if head is None:
            nothing = dict.fromkeys(map(str, self._settings.lane.layout.partitions_of(shard)), 0)
            return growth_of(nothing, end, 0.0)
        manifest = read_manifest(self._store, shard, head.build, head.manifest_checksum)
        return growth_of(head.next_offsets, end, manifest.record_bytes_mean)

    def _compacted(self, shard: int, reason: str) -> CompactionReport | None:
        _log.info("compaction-starts", shard=shard, reason=reason)
        report = compact_once(
            self._index_log,
            self._store,
            self._settings.lane,
            shard,
            metrics=self._metrics,
            reason=reason,
            policy=self._settings.build,
            should_stop=self._should_stop,
            clock=self._clock,
        )
        if report.head is None:
            return None  # offsets without records: transaction markers
        self._metrics.count("freshlens_compactions_total", outcome="published")
        self._tell_rejections(shard)
        return report

    def _ended(self, shard: int, error: FreshlensError, outcome: str) -> int:
        """Tell how; returns how many were rejected in a row."""
        self._metrics.count("freshlens_compactions_total", outcome=outcome)
        _log.warning("compaction-ended", outcome=outcome, reason=error.message)
        return self._tell_rejections(shard)

    def _tell_rejections(self, shard: int) -> int:
        lane = self._settings.lane
        in_a_row = rejected_in_a_row(rejections(self._store, lane, shard), newest_head(self._store, lane, shard))
        self._metrics.gauge("freshlens_rejected_in_a_row", in_a_row, shard=str(shard))
        if in_a_row >= _ALARMING:
            _log.error("generations-rejected", shard=shard, in_a_row=in_a_row)
        return in_a_row

    @staticmethod
    def _local_time(at_us: int) -> datetime:
        return datetime.fromtimestamp(at_us / 1e6).astimezone()
