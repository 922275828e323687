"""One replica of a shard: a generation, the applier over it, and its own place in the log.

Restart, swap and rollback are one function, :func:`restore`: built beside what serves, taken over by one assignment.
"""

from collections.abc import Callable, Mapping

import structlog

from index_nodes.generations import generation as generations
from index_nodes.generations.generation import Generation
from index_nodes.generations.heads import Head
from index_nodes.generations.manifest import check_files, check_lane, read_manifest
from index_nodes.generations.offsets import Positions
from index_nodes.replicas.applier import ROWS_MAX, Applier
from index_nodes.replicas.log import IndexLog, LogBatch, check_bounds, check_positions
from index_nodes.replicas.voids import Voids
from index_nodes.rows.graph import GraphBuilder
from index_nodes.rows.tail import BLOCK_ROWS
from index_nodes.views.view import IndexView
from schemas.clock import Clock, SystemClock
from schemas.errors import LogRecordUnreadable
from schemas.lane import Lane
from schemas.layout import LogId, NextOffset
from schemas.metrics import Metrics
from topics.store import ObjectStore

_log = structlog.get_logger()


class Replica:
    """Stepped by one thread; ``view`` may be captured by any."""

    def __init__(
        self, head: Head | None, log: IndexLog, log_id: LogId, applier: Applier, clock: Clock, metrics: Metrics
    ) -> None:
        self.head, self.log_id, self.applier = head, log_id, applier
        self._index_log, self._clock, self._metrics = log, clock, metrics
        self._reader = log.reader(applier.view.offsets.applied)
        self._behind: dict[int, int] = {}  # partition → append time of the last record applied there
        self.is_skimming = False

    @property
    def view(self) -> IndexView:
        return self.applier.view

    @property
    def seq(self) -> int:
        """Sequence number of the head, 0 before the first."""
        return self.head.seq if self.head else 0

    @property
    def blocked(self) -> LogRecordUnreadable | None:
        """Set while a partition has stopped at a record that only a newer program can read."""
        return next((at.error for at in self.applier.blocked.values()), None)

    def lag_ms(self, now_us: int) -> int:
        """How long what is known to wait has been in the log; 0 if nothing waits."""
        waiting = list(self._behind.values())  # a copy: another thread may be applying
        return max(0, now_us // 1000 - min(waiting)) if waiting else 0

    def step(self, timeout_s: float) -> bool:
        """Apply what has arrived; waits for something at most so long. True if the view changed.

        At the cap of the delta content is withheld, and read again once there is room (skim mode, HOLES 8).

        Raises:
            LogChanged and other StorageErrors: stop, and serve nothing from it.
        """
        before = self.applier.view
        self._choose_mode()
        self._take(timeout_s, self.applier.skim if self.is_skimming else self.applier.apply)
        return self.applier.view is not before

    def has_applied(self, until: Mapping[int, int]) -> bool:
        """Whether nothing below these offsets is missing; never again once blocked before them."""
        return self.view.offsets.covers(until)

    def catch_up(self, until: Mapping[int, int], should_stop: Callable[[], bool]) -> None:
        """Apply until nothing below ``until`` is missing in any partition that is not blocked, or it should stop.

        The cap does not hold here: who takes over has to show what was shown.
        """
        if self.is_skimming:
            self._end_skimming()
        while not (self.has_applied(self.readable(until)) or should_stop()):
            self._take(0.1, self.applier.apply)

    def mask(self, until: Mapping[int, int], should_stop: Callable[[], bool]) -> None:
        """Step until nothing that was deleted below ``until`` is shown, where not blocked, or it should stop."""
        while not (self.view.offsets.masks(self.readable(until)) or should_stop()):
            self.step(0.1)

    def readable(self, until: Mapping[int, int]) -> dict[int, int]:
        """Those of ``until`` whose partition is not blocked."""
        return {partition: offset for partition, offset in until.items() if partition not in self.applier.blocked}

    def retry_blocked(self) -> None:
        """Read on where an unreadable record was given up since; nothing if none was."""
        if self.applier.unblock():
            offsets = self.view.offsets
            self._read_from(offsets.masked if self.is_skimming else offsets.applied)

    def close(self) -> None:
        self.applier.close()
        self._reader.close()

    def _choose_mode(self) -> None:
        if self.is_skimming and self.applier.has_room:
            self._end_skimming()
        elif not self.is_skimming and self.applier.is_full:
            self.is_skimming = True
            _log.warning("skim-mode-begins", size=self.applier.size)
        self._metrics.gauge("freshlens_index_skimming", float(self.is_skimming))

    def _end_skimming(self) -> None:
        self.is_skimming = False
        self._read_from(self.view.offsets.applied)
        _log.info("skim-mode-ends")

    def _read_from(self, positions: Positions) -> None:
        self._reader.close()
        self._reader = self._index_log.reader(positions)

    def _take(self, timeout_s: float, apply: Callable[[LogBatch], None]) -> None:
        self.applier.install_graphs()
        batch = self._reader.read(timeout_s)
        apply(batch)
        self._note_lag(batch)

    def _note_lag(self, batch: LogBatch) -> None:
        for entry in batch.entries:
            if entry.partition not in self.applier.blocked or entry.partition not in self._behind:
                self._behind[entry.partition] = entry.appended_at_ms
        for partition in batch.ends.keys() - self.applier.blocked.keys():
            self._behind.pop(partition, None)
        if batch.entries:
            waited_ms = self._clock.now_us() / 1000 - batch.entries[-1].appended_at_ms
            self._metrics.observe("freshlens_index_freshness_seconds", max(0.0, waited_ms / 1000))


def load_generation(store: ObjectStore, lane: Lane, shard: int, head: Head) -> Generation:
    """The generation of a head, every file verified.

    Raises:
        ManifestCorrupt, ChecksumMismatch, SpaceChanged, LayoutChanged.
    """
    manifest = read_manifest(store, shard, head.build, head.manifest_checksum)
    check_lane(manifest, lane)
    return generations.load(check_files(store, manifest), manifest, lane.space.dim)


def open_replica(
    head: Head | None,
    *,
    log: IndexLog,
    store: ObjectStore,
    lane: Lane,
    shard: int,
    builder: GraphBuilder,
    metrics: Metrics,
    clock: Clock | None = None,
    block_rows: int = BLOCK_ROWS,
    rows_max: int = ROWS_MAX,
) -> Replica:
    """A replica that stands where the generation of ``head`` ends; None is the empty state at offset 0.

    Raises:
        LogChanged, LogTruncated: the log does not continue this generation. And as :func:`load_generation`.
    """
    bounds = log.bounds()
    check_bounds(bounds, lane)
    if head is None:
        log_id = bounds.log_id
        start = {partition: NextOffset(0) for partition in lane.layout.partitions_of(shard)}
        generation = generations.empty(lane.space.dim, start)
    else:
        log_id = LogId.parse(head.log_id)
        generation = load_generation(store, lane, shard, head)
    check_positions(bounds, log_id, generation.positions)
    voids = Voids(store, lane, log_id)
    applier = Applier(generation, lane, builder, metrics, block_rows, rows_max, voids.places(), voids.has)
    return Replica(head, log, log_id, applier, clock or SystemClock(), metrics)


def restore(
    head: Head | None,
    until: Mapping[int, int],
    *,
    log: IndexLog,
    store: ObjectStore,
    lane: Lane,
    shard: int,
    builder: GraphBuilder,
    metrics: Metrics,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
    block_rows: int = BLOCK_ROWS,
    rows_max: int = ROWS_MAX,
) -> Replica:
    """fold(generation of head, log up to ``until``): the one way to start, to swap and to roll back.

    A partition whose generation is ahead of ``until`` moves forward; replaying what is older changes nothing.

    Raises: as :func:`open_replica`.
    """
    replica = open_replica(
        head,
        log=log,
        store=store,
        lane=lane,
        shard=shard,
        builder=builder,
        metrics=metrics,
        clock=clock,
        block_rows=block_rows,
        rows_max=rows_max,
    )
    try:
        replica.catch_up(until, should_stop)
    except BaseException:
        replica.close()
        raise
    return replica
