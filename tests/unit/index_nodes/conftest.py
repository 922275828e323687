"""An index in memory and on a temporary disk, fed by hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from index_nodes.compaction.compaction import CompactionReport, compact_once
from index_nodes.generations.heads import Head
from index_nodes.replicas.applier import ROWS_MAX
from index_nodes.replicas.replica import Replica
from index_nodes.views.search import Found, search
from index_nodes.views.view import IndexView
from schemas.embeddings import Vector
from schemas.filters import Filter
from schemas.index_log import IndexLogRecord
from schemas.lane import Lane
from schemas.metrics import RecordingMetrics
from tests.unit.index_nodes import records
from tests.unit.index_nodes.replicas import restored
from topics.store import FileStore, ObjectStore


class Index:
    """One replica with its log and its store."""

    def __init__(
        self,
        store: ObjectStore | Path,
        lane: Lane | None = None,
        block_rows: int = 16,
        rows_max: int = ROWS_MAX,
    ) -> None:
        self.lane = lane or records.lane_of()
        self.store: Any = FileStore(store) if isinstance(store, Path) else store
        self.log = records.MemoryLog(self.lane)
        self.metrics = RecordingMetrics()
        self._block_rows, self._rows_max = block_rows, rows_max
        self.replica = self.restored()

    @property
    def view(self) -> IndexView:
        return self.replica.view

    def apply(self, *items: IndexLogRecord) -> None:
        """Write to the log and let the replica catch up."""
        for item in items:
            self.log.append(item)
        self.replica.catch_up(self.log.bounds().end, lambda: False)
        self.replica.step(0)  # takes in graphs

    def restored(self, head: Head | None = None) -> Replica:
        """A replica of the head, or of the newest."""
        return restored(
            self.log,
            self.store,
            self.lane,
            head=head,
            metrics=self.metrics,
            block_rows=self._block_rows,
            rows_max=self._rows_max,
        )

    def compact(self) -> CompactionReport:
        return compact_once(self.log, self.store, self.lane, 0)

    def compact_and_swap(self) -> None:
        self.compact()
        self.replica = self.restored()

    def search(
        self,
        query: Vector | None,
        k: int = 10,
        clause: Filter | None = None,
        *,
        tenant: str = "default",
        exact: bool = False,
    ) -> Found:
        return search(self.view, tenant=tenant, query=query, k=k, clause=clause, exact=exact)

    def ids(self, query: Vector | None, k: int = 10, clause: Filter | None = None) -> list[str]:
        return [hit.product_id for hit in self.search(query, k, clause).hits]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "store")
    yield made
    made.replica.close()
