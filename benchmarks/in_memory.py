"""An index-log in memory: what the node reads is as in production, but a broker's own time is left out."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from index_nodes.replicas.log import BATCH_RECORDS_MAX, LogBatch, LogBounds, LogEntry
from schemas.lane import Lane
from schemas.layout import LogId, NextOffset

LOG_ID = LogId("benchmark", "index-log")


class MemoryLog:
    """An :class:`index_nodes.replicas.log.IndexLog`. Any thread may append while others read.

    Args:
        begin: partition → first offset kept, as if what lies before had been truncated; 0 by default.
    """

    def __init__(self, lane: Lane, begin: Mapping[int, int] | None = None) -> None:
        self._begin = {partition: (begin or {}).get(partition, 0) for partition in range(lane.layout.partitions)}
        self._records: dict[int, list[LogEntry]] = {partition: [] for partition in self._begin}
        self.arrived = threading.Condition()

    def append(self, partition: int, raw: bytes) -> LogEntry:
        """Write a record, which a waiting reader gets at once."""
        with self.arrived:
            offset = self._begin[partition] + len(self._records[partition])
            entry = LogEntry(partition, offset, time.time_ns() // 1_000_000, raw)
            self._records[partition].append(entry)
            self.arrived.notify_all()
        return entry

    def log_id(self) -> LogId:
        return LOG_ID

    def bounds(self) -> LogBounds:
        return LogBounds(
            LOG_ID,
            {partition: NextOffset(offset) for partition, offset in self._begin.items()},
            {partition: NextOffset(self._begin[partition] + len(kept)) for partition, kept in self._records.items()},
        )

    def reader(self, positions: Mapping[int, NextOffset]) -> "MemoryReader":
        return MemoryReader(self, positions)

    def waiting(self, partition: int, offset: int, count: int) -> list[LogEntry]:
        """At most ``count`` entries from an offset on."""
        start = offset - self._begin[partition]
        return self._records[partition][start : start + count]

    def write(self, path: Path) -> None:
        """Keep the log in a file, for another process."""
        raw = {partition: [entry.raw for entry in kept] for partition, kept in self._records.items()}
        path.write_bytes(msgspec.msgpack.encode((self._begin, raw)))

    @staticmethod
    def read_from(path: Path, lane: Lane) -> "MemoryLog":
        """The log that ``write`` kept."""
        begin, raw = msgspec.msgpack.decode(path.read_bytes(), type=tuple[dict[int, int], dict[int, list[bytes]]])
        log = MemoryLog(lane, begin)
        for partition, records in raw.items():
            for record in records:
                log.append(partition, record)
        return log


class MemoryReader:
    """Reads what is there, partition by partition; waits where there is nothing."""

    def __init__(self, log: MemoryLog, positions: Mapping[int, NextOffset]) -> None:
        self._log = log
        self._next = {partition: int(offset) for partition, offset in positions.items()}

    def read(self, timeout_s: float) -> LogBatch:
        batch = self._waiting()
        if not batch.entries and timeout_s > 0:
            with self._log.arrived:
                batch = self._waiting()
                if not batch.entries:
                    self._log.arrived.wait(timeout_s)
                    batch = self._waiting()
        return batch

    def close(self) -> None:
        pass

    def _waiting(self) -> LogBatch:
        entries: list[LogEntry] = []
        ends: dict[int, NextOffset] = {}
        for partition, offset in self._next.items():
            room = BATCH_RECORDS_MAX - len(entries)
            fresh = self._log.waiting(partition, offset, room)
            entries += fresh
            self._next[partition] = offset + len(fresh)
            if len(fresh) < room:
                ends[partition] = NextOffset(self._next[partition])
        return LogBatch(entries, ends)
