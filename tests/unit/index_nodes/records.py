"""Records of index-log made by hand, and a log in memory that the node's code reads as it reads Kafka's."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from index_nodes.replicas.log import BATCH_RECORDS_MAX, LogBatch, LogBounds, LogEntry
from schemas.embeddings import Space, Vector, normalise, to_fp16
from schemas.events import Attributes, Source
from schemas.framing import INDEX_LOG
from schemas.hashing import group_digest, view_hash
from schemas.identity import partition_of
from schemas.index_log import IndexedContent, IndexedDelete, IndexedOffer, IndexedView, IndexLogRecord
from schemas.join import Rank
from schemas.lane import Lane
from schemas.layout import Layout, LogId, NextOffset

TINY = Space("tiny-1", 8)
LOG_ID = LogId("cluster", "E+ckcGx/T9eF55dmp6ZjZA==")  # as a broker makes them


def lane_of(space: Space = TINY, partitions: int = 4, shards: int = 1, name: str = "main") -> Lane:
    """A lane for tests."""
    return Lane(name, space, Layout(partitions, shards))


def unit(values: npt.ArrayLike, space: Space = TINY) -> Vector:
    """(dim,) float32 of unit norm."""
    return normalise(values, space)


def picture(seed: int, space: Space = TINY) -> Vector:
    """The same vector for the same number."""
    return unit(np.random.default_rng(seed).standard_normal(space.dim), space)


def view_of(vector: Vector, content_hash: bytes | None = None) -> IndexedView:
    """A view that is identified by its vector."""
    raw = to_fp16(vector)
    return IndexedView(view_hash("vector", raw, decode_version=1, epoch=0), "vector", raw, content_hash)


def content(
    product_id: str,
    version: int,
    vectors: Sequence[Vector],
    *,
    tenant: str = "default",
    title: str | None = None,
    attributes: Attributes | None = None,
    space: Space = TINY,
    dup_group: bytes = b"",
) -> IndexLogRecord:
    """A product's content group, whole."""
    views = tuple(view_of(vector) for vector in vectors)
    digest = group_digest((title, attributes, [view.view_hash for view in views], dup_group))
    rank = Rank(version, 0, len(views), digest)
    group = IndexedContent(rank, space.name, title, None, attributes or {}, views, dup_group)
    return IndexLogRecord(tenant, product_id, _source(), content=group)


def offer(
    product_id: str,
    version: int,
    price: float | None = None,
    *,
    tenant: str = "default",
    currency: str | None = None,
    stock: int | None = None,
    attributes: Attributes | None = None,
) -> IndexLogRecord:
    """A product's offer group."""
    rank = Rank(version, 0, 0, group_digest((price, currency, stock, attributes)))
    group = IndexedOffer(rank, price, currency, stock, None, attributes or {})
    return IndexLogRecord(tenant, product_id, _source(), offer=group)


def delete(product_id: str, version: int, *, tenant: str = "default") -> IndexLogRecord:
    """A product's deletion."""
    return IndexLogRecord(tenant, product_id, _source(), deleted=IndexedDelete(Rank(version), None))


def _source() -> Source:
    return Source("product-added", 0, 0, 1_795_000_000_000)


class MemoryLog:
    """An :class:`index_nodes.replicas.log.IndexLog` without a broker."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.id = LOG_ID
        self.records: list[list[LogEntry]] = [[] for _ in range(lane.layout.partitions)]
        self.begin = [0] * lane.layout.partitions
        self.now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000

    def append(self, record: IndexLogRecord) -> LogEntry:
        """Write a record where it belongs."""
        return self.append_raw(partition_of(record.key, self.lane.layout.partitions), INDEX_LOG.encode(record))

    def append_raw(self, partition: int, raw: bytes | None) -> LogEntry:
        entry = LogEntry(partition, len(self.records[partition]), self.now_ms(), raw)
        self.records[partition].append(entry)
        return entry

    def log_id(self) -> LogId:
        return self.id

    def bounds(self) -> LogBounds:
        return LogBounds(
            self.id,
            {partition: NextOffset(offset) for partition, offset in enumerate(self.begin)},
            {partition: NextOffset(len(records)) for partition, records in enumerate(self.records)},
        )

    def truncate(self, below: Mapping[int, NextOffset]) -> None:
        for partition, offset in below.items():
            assert offset <= len(self.records[partition])
            self.begin[partition] = max(self.begin[partition], offset)

    def reader(self, positions: Mapping[int, NextOffset]) -> "MemoryReader":
        return MemoryReader(self, positions)


class MemoryReader:
    """Reads all that is there, partition by partition."""

    def __init__(self, log: MemoryLog, positions: Mapping[int, NextOffset]) -> None:
        self._log = log
        self._next = dict(positions)
        self.is_closed = False

    def read(self, timeout_s: float) -> LogBatch:
        assert not self.is_closed
        entries: list[LogEntry] = []
        ends: dict[int, NextOffset] = {}
        for partition, offset in self._next.items():
            fresh = self._log.records[partition][offset : offset + BATCH_RECORDS_MAX - len(entries)]
            entries += fresh
            self._next[partition] = NextOffset(offset + len(fresh))
            if self._next[partition] == len(self._log.records[partition]):
                ends[partition] = self._next[partition]
        return LogBatch(entries, ends)

    def close(self) -> None:
        self.is_closed = True
