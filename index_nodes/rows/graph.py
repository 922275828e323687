"""A sealed block under an hnswlib graph, immutable once built."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol

import hnswlib
import numpy as np
import numpy.typing as npt

from index_nodes.rows.arrays import Mask
from index_nodes.rows.exact import TIE, ExactRows
from index_nodes.rows.passing import LocalRows, Nearest, Passing
from index_nodes.rows.samples import between
from index_nodes.rows.tail import Block
from schemas.embeddings import Vector

M = 32
EF_CONSTRUCTION = 400
EF_SEARCH = (48, 96, 192, 384)
"""Widths of a search, of which each graph gets the least that finds enough of its own rows: tight clusters need several
times the width of what is spread (docs/adr/0009)."""
RECALL_AIM = 0.98
_QUERIES = 64
_ROWS_AT_ONCE = 512
"""A builder that is closed has let go of its blocks a second later."""
DEAD_SHARE_MAX = 0.3
"""A graph with more dead rows than this is built again of those that live."""
_EXACT_ROWS_MAX = 512
"""So few passing rows are scanned faster than a graph is searched for them."""


@dataclass(frozen=True)
class Graph:
    """``labels`` (m,): the rows of the block that were alive when it was built; ``vectors`` (n, dim) of all."""

    first_row: int
    vectors: npt.NDArray[np.float16]
    labels: LocalRows
    index: Any
    source: str = "graph"

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def exact(self) -> ExactRows:
        """The same without the graph."""
        return ExactRows(self.vectors)

    def search(self, query: Vector, wanted: int, passing: Passing) -> Nearest:
        """About the ``wanted`` nearest passing rows, never fewer than min(wanted, passing); see :class:`Block`.

        The graph knows no filter, so it is asked for more by the share that passes; where that is not enough the
        passing rows are scanned.
        """
        if passing.about > max(wanted, _EXACT_ROWS_MAX):
            fetched = wanted + 2
            if passing.about < len(self.labels):
                fetched = int(1.5 * wanted * len(self.labels) / passing.about) + 8
            if fetched < len(self.labels) // 8:
                found = self._nearest(query, fetched)
                found = found.among(passing.includes(found.rows))
                if len(found.rows) >= wanted:
                    return found
        return self.exact.search(query, wanted, passing)

    def dead_share(self, alive: Mask) -> float:
        """Of the rows in the graph, how many are dead by now; ``alive`` (n,) bool."""
        return 1.0 - float(np.count_nonzero(alive[self.labels])) / max(1, len(self.labels))

    def _nearest(self, query: Vector, count: int) -> Nearest:
        try:
            labels, distances = self.index.knn_query(query, k=count, num_threads=1)
        except RuntimeError:
            # hnswlib raises when the graph's connected part has fewer; the caller scans.
            return Nearest(np.empty(0, np.int64), np.empty(0, np.float32))
        return Nearest(labels[0].view(np.int64), 1.0 - distances[0])


Segment = Block | Graph


class Abandoned(Exception):
    """A graph that nobody wants any more."""


def build_graph(block: Segment, alive: Mask, is_wanted: Callable[[], bool] = lambda: True) -> Graph:
    """A graph of the rows that are alive; one thread, so that equal input gives equal graphs.

    Args:
        block: what to build of.
        alive: (n,) bool, with at least one row.
        is_wanted: asked now and then.

    Raises:
        Abandoned: it is not wanted any more.
    """
    labels = np.flatnonzero(alive)
    vectors = block.vectors[labels].astype(np.float32)
    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(max_elements=len(labels), M=M, ef_construction=EF_CONSTRUCTION, random_seed=100)
    for start in range(0, len(labels), _ROWS_AT_ONCE):
        if not is_wanted():
            raise Abandoned
        index.add_items(vectors[start : start + _ROWS_AT_ONCE], labels[start : start + _ROWS_AT_ONCE], num_threads=1)
    index.set_ef(EF_SEARCH[0])
    if len(labels) > _EXACT_ROWS_MAX:
        _widen(index, vectors)
    return Graph(block.first_row, block.vectors, labels, index)


def _widen(index: Any, vectors: Vector) -> None:
    """Let the graph search as widely as queries between its own rows need, at most as wide as there is."""
    random = np.random.default_rng(1)
    queries = between(vectors, _QUERIES, random)
    tenth = np.partition(queries @ vectors.T, -10, axis=1)[:, -10, None]
    for ef in EF_SEARCH:
        index.set_ef(ef)
        try:
            _, distances = index.knn_query(queries, k=10, num_threads=1)
        except RuntimeError:
            continue  # fewer than ten can be reached so far
        if np.mean(1.0 - distances >= tenth - TIE) >= RECALL_AIM:
            return


class GraphBuilder(Protocol):
    """Builds graphs off the path of queries and of the applier."""

    def submit(self, block: Segment, alive: Mask) -> None:
        """Ask for a graph of a block."""
        ...

    def finished(self) -> list[Graph]:
        """Graphs that were finished since the last call."""
        ...

    def close(self) -> None: ...


class NoGraphs:
    """Builds nothing: sealed blocks are scanned. For the compactor."""

    def submit(self, block: Segment, alive: Mask) -> None:
        pass

    def finished(self) -> list[Graph]:
        return []

    def close(self) -> None:
        pass


class InlineBuilder:
    """Builds at once, for tests."""

    def __init__(self) -> None:
        self._finished: list[Graph] = []

    def submit(self, block: Segment, alive: Mask) -> None:
        self._finished.append(build_graph(block, alive))

    def finished(self) -> list[Graph]:
        finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        pass


class ThreadBuilder:
    """Builds in one thread of its own; hnswlib lets go of the interpreter meanwhile."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[Callable[[], Graph] | None] = SimpleQueue()
        self._finished: SimpleQueue[Graph] = SimpleQueue()
        self._is_closed = False
        Thread(target=self._work, name="graph-builder", daemon=True).start()

    def submit(self, block: Segment, alive: Mask) -> None:
        self._asked.put(lambda: build_graph(block, alive, lambda: not self._is_closed))

    def finished(self) -> list[Graph]:
        finished = []
        while True:
            try:
                finished.append(self._finished.get_nowait())
            except Empty:
                return finished

    def close(self) -> None:
        self._is_closed = True
        self._asked.put(None)

    def _work(self) -> None:
        while (build := self._asked.get()) is not None:
            with suppress(Abandoned):
                self._finished.put(build())
