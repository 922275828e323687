"""A log in memory that does what Kafka may do: stalls, prefixes, duplicates, markers, truncation, and forgetting."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from index_nodes.replicas.log import LogBatch, LogBounds, LogEntry
from schemas.clock import ManualClock
from schemas.errors import LogChanged
from schemas.framing import INDEX_LOG as CODEC
from schemas.identity import partition_of
from schemas.index_log import IndexLogRecord
from schemas.lane import Lane
from schemas.layout import LogId, NextOffset
from tests.simulation.life import Life
from topics.declarations import INDEX_LOG, declared

NEWER_SCHEMA = b"\xc3\x01" + b"\xee" * 8
"""The header of a schema that no present program knows."""


@dataclass
class Written:
    """One offset. ``means``: what it says to a program that can read it; None: garbage, or a marker without entry."""

    entry: LogEntry | None
    means: IndexLogRecord | None = None
    is_newer: bool = False
    is_void: bool = False


class SimBroker:
    """The partitions of index-log. What is in here survives every crash: producers wait for all replicas."""

    def __init__(self, lane: Lane, clock: ManualClock, random: Random) -> None:
        self.lane, self._clock, self._random = lane, clock, random
        self.log_id = LogId("cluster", "topic")
        self.partitions: list[list[Written]] = [[] for _ in range(lane.layout.partitions)]
        self.begin = [NextOffset(0)] * lane.layout.partitions
        self.stalled_until = [0.0] * lane.layout.partitions
        self.batch_max = 12
        self._is_compacted = declared(lane.layout)[INDEX_LOG].cleanup == "compact"

    @property
    def bounds(self) -> LogBounds:
        ends = {partition: NextOffset(len(written)) for partition, written in enumerate(self.partitions)}
        return LogBounds(self.log_id, dict(enumerate(self.begin)), ends)

    def append(self, record: IndexLogRecord) -> str:
        """Write a record where it belongs; says where that was."""
        return self._write(partition_of(record.key, len(self.partitions)), CODEC.encode(record), record)

    def append_newer(self, record: IndexLogRecord) -> str:
        """Write a record in a schema of tomorrow."""
        partition = partition_of(record.key, len(self.partitions))
        return self._write(partition, NEWER_SCHEMA + CODEC.encode(record), record, is_newer=True)

    def append_garbage(self, partition: int, raw: bytes | None) -> str:
        return self._write(partition, raw, None)

    def append_marker(self, partition: int) -> None:
        """An offset without a record, as the end of a transaction leaves."""
        self.partitions[partition].append(Written(None))

    def upgrade(self) -> int:
        """Every program knows today's newest schema; how many records became readable."""
        newer = [written for partition in self.partitions for written in partition if written.is_newer]
        for written in newer:
            assert written.entry is not None
            entry = written.entry
            raw = (entry.raw or b"").removeprefix(NEWER_SCHEMA)
            written.entry = LogEntry(entry.partition, entry.offset, entry.appended_at_ms, raw)
            written.is_newer = False
        return len(newer)

    @property
    def unreadable(self) -> list[LogEntry]:
        """Records that wait for an upgrade, or for being given up."""
        written = [each for partition in self.partitions for each in partition if each.is_newer and not each.is_void]
        return [each.entry for each in written if each.entry is not None]

    def void(self, partition: int, offset: int) -> IndexLogRecord | None:
        """From now on the record means nothing, whoever can read it; what it meant."""
        written = self.partitions[partition][offset]
        meant, written.means, written.is_void = written.means, None, True
        return meant

    def truncate(self, partition: int, before: int) -> None:
        """DeleteRecords: nothing below can be read any more."""
        assert before <= len(self.partitions[partition]), "nothing may be removed that was never written"
        self.begin[partition] = NextOffset(max(self.begin[partition], before))

    def clean(self) -> None:
        """Kafka's cleaner, if the topic is declared so: only the last offset of a key stays."""
        if not self._is_compacted:
            return
        for partition in self.partitions:
            seen = set()
            for written in reversed(partition):
                if written.entry is None or written.means is None:
                    continue
                if written.means.key in seen:
                    written.entry = None
                seen.add(written.means.key)

    def take(self, positions: dict[int, NextOffset]) -> LogBatch:
        """Any prefix of what is there, partitions in any order; ``positions`` move on."""
        entries: list[LogEntry] = []
        ends: dict[int, NextOffset] = {}
        for partition in self._random.sample(sorted(positions), len(positions)):
            offset, written = positions[partition], self.partitions[partition]
            if offset < self.begin[partition] or offset > len(written):
                raise LogChanged(f"index-log[{partition}] has no offset {offset}")
            if self.stalled_until[partition] > self._clock.monotonic():
                continue
            fetched = written[offset : offset + self._random.randint(1, self.batch_max)]
            entries += [each.entry for each in fetched if each.entry is not None]
            positions[partition] = NextOffset(offset + len(fetched))
            if positions[partition] == len(written) and self._random.random() < 0.9:
                ends[partition] = positions[partition]
        return LogBatch(entries, ends)

    def _write(self, partition: int, raw: bytes | None, means: IndexLogRecord | None, is_newer: bool = False) -> str:
        offset = len(self.partitions[partition])
        entry = LogEntry(partition, offset, self._clock.now_us() // 1000, raw)
        self.partitions[partition].append(Written(entry, means, is_newer))
        return f"{partition}@{offset}"


class SimLog:
    """What one actor sees of the broker: an :class:`index_nodes.replicas.log.IndexLog`."""

    def __init__(self, broker: SimBroker, life: Life, clock: ManualClock) -> None:
        self._broker, self._life, self._clock = broker, life, clock

    def bounds(self) -> LogBounds:
        return self._life.effect("log.bounds", lambda: self._broker.bounds)

    def log_id(self) -> LogId:
        return self._life.effect("log.log_id", lambda: self._broker.log_id)

    def reader(self, positions: Mapping[int, NextOffset]) -> "SimReader":
        return SimReader(self._broker, self._life, self._clock, dict(positions))

    def truncate(self, below: Mapping[int, NextOffset]) -> None:
        for partition, offset in below.items():
            cut = functools.partial(self._broker.truncate, partition, offset)
            self._life.effect(f"log.truncate {partition}@{offset}", cut)


class SimReader:
    """A position in the log; waiting for a record is what makes time pass."""

    def __init__(self, broker: SimBroker, life: Life, clock: ManualClock, positions: dict[int, NextOffset]) -> None:
        self._broker, self._life, self._clock, self._positions = broker, life, clock, positions

    def read(self, timeout_s: float) -> LogBatch:
        batch = self._life.effect("log.read", lambda: self._broker.take(self._positions))
        if not batch.entries:
            self._clock.advance(max(timeout_s, 0.001))
        return batch

    def close(self) -> None:
        pass
