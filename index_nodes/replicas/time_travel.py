"""The index as it was: exactly the records below some offsets, folded beside what serves, then dropped (HOLES 25)."""

from collections.abc import Mapping

from index_nodes.generations.heads import Head, head_numbers, read_head
from index_nodes.replicas.log import IndexLog, LogBatch, LogBounds, LogReader, check_positions
from index_nodes.replicas.replica import restore
from index_nodes.rows.graph import NoGraphs
from index_nodes.views.view import IndexView
from schemas.lane import Lane
from schemas.layout import LogId, NextOffset
from schemas.metrics import NullMetrics
from topics.store import ObjectStore


def view_as_of(
    positions: Mapping[int, NextOffset], *, log: IndexLog, store: ObjectStore, lane: Lane, shard: int
) -> IndexView:
    """The view of a shard that has applied what lies below ``positions``, and nothing else.

    Tombstones that a later compaction forgot do not matter, since the generation it starts from is not newer.

    Raises:
        LogTruncated: so far back neither a retained generation nor the log reaches.
        LogChanged: the positions lie beyond the end of the log. Others as :func:`index_nodes.replicas.replica.restore`.
    """
    wanted = {partition: positions[partition] for partition in lane.layout.partitions_of(shard)}
    bounds = log.bounds()
    check_positions(bounds, bounds.log_id, wanted)
    replica = restore(
        _newest_not_after(wanted, store, lane, shard),
        wanted,
        log=_LogUntil(log, wanted),
        store=store,
        lane=lane,
        shard=shard,
        builder=NoGraphs(),
        metrics=NullMetrics(),
    )
    view = replica.view
    replica.close()
    if replica.blocked is not None and not replica.has_applied(wanted):
        raise replica.blocked
    return view


def _newest_not_after(wanted: Mapping[int, NextOffset], store: ObjectStore, lane: Lane, shard: int) -> Head | None:
    for seq in reversed(head_numbers(store, lane, shard)):
        head = read_head(store, lane, shard, seq)
        if all(head.next_offsets[str(partition)] <= offset for partition, offset in wanted.items()):
            return head
    return None


class _LogUntil:
    """A log that ends where we want to."""

    def __init__(self, log: IndexLog, until: Mapping[int, NextOffset]) -> None:
        self._log, self._until = log, until

    def bounds(self) -> LogBounds:
        return self._log.bounds()

    def log_id(self) -> LogId:
        return self._log.log_id()

    def reader(self, positions: Mapping[int, NextOffset]) -> LogReader:
        return _ReaderUntil(self._log.reader(positions), self._until)


class _ReaderUntil:
    def __init__(self, reader: LogReader, until: Mapping[int, NextOffset]) -> None:
        self._reader, self._until = reader, until

    def read(self, timeout_s: float) -> LogBatch:
        batch = self._reader.read(timeout_s)
        ends = {partition: min(end, self._until[partition]) for partition, end in batch.ends.items()}
        for entry in batch.entries:
            if entry.offset >= self._until[entry.partition]:
                ends[entry.partition] = self._until[entry.partition]
        return LogBatch([entry for entry in batch.entries if entry.offset < self._until[entry.partition]], ends)

    def close(self) -> None:
        self._reader.close()
