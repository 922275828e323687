"""One replica of a shard: a generation, the applier over it, and its own place in the log.

Restart, swap and rollback are one function, :func:`restore`: built beside what serves, taken over by one assignment.
"""

import time
from collections.abc import Callable, Mapping

import structlog

from index_nodes import generation as generations
from index_nodes.applier import Applier
from index_nodes.generation import Generation
from index_nodes.graph import GraphBuilder
from index_nodes.heads import Head
from index_nodes.log import IndexLog, LogBatch, LogReader, check_bounds, check_positions
from index_nodes.manifest import check_files, check_lane, read_manifest
from index_nodes.tail import BLOCK_ROWS
from index_nodes.view import IndexView
from schemas.errors import LogRecordUnreadable
from schemas.lane import Lane
from schemas.layout import LogId, NextOffset
from schemas.metrics import Metrics
from topics.store import ObjectStore

_log = structlog.get_logger()


class Replica:
    """Stepped by one thread; ``view`` may be captured by any."""

    def __init__(self, head: Head | None, log_id: LogId, applier: Applier, reader: LogReader, metrics: Metrics) -> None:
        self.head, self.log_id, self.applier = head, log_id, applier
        self._reader, self._metrics = reader, metrics
        self._behind: dict[int, int] = {}  # partition → append time of the last record applied there

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
        return next(iter(self.applier.blocked.values()), None)

    def lag_ms(self, now_us: int) -> int:
        """How long what is known to wait has been in the log; 0 if nothing waits."""
        waiting = list(self._behind.values())
        return max(0, now_us // 1000 - min(waiting)) if waiting else 0

    def step(self, timeout_s: float) -> bool:
        """Apply what has arrived; waits for something at most so long. True if the view changed.

        Raises:
            LogChanged and other StorageErrors: stop, and serve nothing from it.
        """
        before = self.applier.view
        self.applier.install_graphs()
        batch = self._reader.read(timeout_s)
        self.applier.apply(batch)
        self._note_lag(batch)
        return self.applier.view is not before

    def has_applied(self, until: Mapping[int, int]) -> bool:
        """Whether nothing below these offsets is missing; never again once blocked before them."""
        return self.view.offsets.covers(until)

    def catch_up(self, until: Mapping[int, int], should_stop: Callable[[], bool]) -> None:
        """Step until ``until`` is applied in every partition that is not blocked, or it should stop."""
        while not (self.has_applied(self.readable(until)) or should_stop()):
            self.step(0.1)

    def readable(self, until: Mapping[int, int]) -> dict[int, int]:
        """Those of ``until`` whose partition is not blocked."""
        return {partition: offset for partition, offset in until.items() if partition not in self.applier.blocked}

    def close(self) -> None:
        self.applier.close()
        self._reader.close()

    def _note_lag(self, batch: LogBatch) -> None:
        for entry in batch.entries:
            if entry.partition not in self.applier.blocked or entry.partition not in self._behind:
                self._behind[entry.partition] = entry.appended_at_ms
        for partition in batch.ends.keys() - self.applier.blocked.keys():
            self._behind.pop(partition, None)
        if batch.entries:
            waited_ms = time.time() * 1000 - batch.entries[-1].appended_at_ms
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
    block_rows: int = BLOCK_ROWS,
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
    applier = Applier(generation, lane, builder, metrics, block_rows)
    return Replica(head, log_id, applier, log.reader(generation.positions), metrics)


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
    block_rows: int = BLOCK_ROWS,
) -> Replica:
    """fold(generation of head, log up to ``until``): the one way to start, to swap and to roll back.

    A partition whose generation is ahead of ``until`` moves forward; replaying what is older changes nothing.

    Raises: as :func:`open_replica`.
    """
    replica = open_replica(
        head, log=log, store=store, lane=lane, shard=shard, builder=builder, metrics=metrics, block_rows=block_rows
    )
    try:
        replica.catch_up(until, should_stop)
    except BaseException:
        replica.close()
        raise
    return replica
