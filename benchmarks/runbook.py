"""Does recall hold at every step while a catalogue turns over and its distribution drifts?

A runbook in the shape of the NeurIPS'23 streaming track: 200,000 live products; at each of 60 steps 2,000 arrive
(sorted by season, families of a season together, so that what arrives is unlike what was there), 1,800 expire,
oldest first, and 200 end at random; then 100 searches, half of all kinds and half for what is about to arrive. Every
12 steps a compaction. Truth is exact search over what is live at that step.

    python -m benchmarks.runbook [--steps 60]
"""

import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks import clustered_vectors
from benchmarks.measuring import K, arguments, ids_of, percentile_ms, searched
from benchmarks.prepared import Prepared, prepared, restored
from benchmarks.products import Products, made_of
from benchmarks.report import save
from benchmarks.vectors import Half, Numbers, Single
from index_nodes.compaction.compaction import compact_once
from index_nodes.rows.graph import InlineBuilder
from topics.store import FileStore

_SEARCHES = 100
_SEASON_JITTER = 0.1
_AHEAD_STEPS = 5
_EXPIRING = 0.9


class Live:
    """What is live, as one matrix for exact search: an arrival takes the place of a departure."""

    def __init__(self, vectors: Half, count: int) -> None:
        self._vectors = vectors
        self.numbers: Numbers = np.arange(count)
        self._matrix = np.ascontiguousarray(vectors[:count], dtype=np.float32)

    def replace(self, gone: Numbers, come: Numbers) -> None:
        """Equally many of both."""
        places = np.flatnonzero(np.isin(self.numbers, gone))
        assert len(places) == len(come), (len(places), len(come))
        self.numbers[places] = come
        self._matrix[places] = self._vectors[come]

    def nearest(self, queries: Single) -> Numbers:
        """(q, K) product numbers."""
        places = faiss.knn(queries, self._matrix, K, metric=faiss.METRIC_INNER_PRODUCT)[1]
        numbers: Numbers = self.numbers[places]
        return numbers

    def departures(self, count: int, random: np.random.Generator) -> Numbers:
        """Mostly the oldest (numbers are in order of arrival), and some at random."""
        ordered = np.sort(self.numbers)
        oldest = ordered[: round(count * _EXPIRING)]
        return np.concatenate([oldest, random.choice(ordered[len(oldest) :], count - len(oldest), replace=False)])


def seasonal(count: int) -> tuple[Half, Numbers]:
    """The clustered rows in order of arrival, and their families: a family arrives around its season."""
    families = clustered_vectors.families(count)
    random = np.random.default_rng(31)
    season = random.random(clustered_vectors.FAMILIES)[families] + _SEASON_JITTER * random.standard_normal(count)
    order = np.argsort(season, kind="stable")
    return np.ascontiguousarray(clustered_vectors.rows(count)[order]), families[order]


class Runbook:
    """Steps over one store; the replica is a new one after each compaction."""

    def __init__(self, folder: Path, made: Prepared, products: Products, rows: int) -> None:
        shutil.copytree(made.store.root, folder)
        self._store, self._lane, self._products = FileStore(folder), made.lane, products
        self._log = made.log()
        self.replica = restored(self._store, self._lane, self._log, InlineBuilder())
        self.live = Live(products.vectors, rows)
        self._random = np.random.default_rng(32)
        self._version = 1
        self._next = rows

    def turn_over(self, count: int) -> None:
        """Arrivals and departures, applied."""
        come = np.arange(self._next, self._next + count)
        gone = self.live.departures(count, self._random)
        self._version += 1
        self._append(self._products.added(number, self._version) for number in come.tolist())
        self._append(self._products.deleted(number, self._version) for number in gone.tolist())
        self.replica.catch_up(self._log.bounds().end, lambda: False)
        self.replica.step(0.0)
        self.live.replace(gone, come)
        self._next += count

    def searches(self, queries: Single) -> dict[str, float]:
        """Recall@10 against what is live, and the time of each."""
        truth = self.live.nearest(queries)
        view, hits, seconds = self.replica.view, 0, []
        for query, true in zip(queries, truth, strict=True):
            began = time.perf_counter()
            found = searched(view, query)
            seconds.append(time.perf_counter() - began)
            hits += len(set(ids_of(found)) & set(true.tolist()))
        return {
            "recall@10": round(hits / truth.size, 4),
            "p50_ms": percentile_ms(seconds, 50),
            "p99_ms": percentile_ms(seconds, 99),
        }

    def upcoming(self, steps: int, per_step: int, count: int) -> Single:
        """Queries like what is about to arrive."""
        ahead = self._random.integers(self._next, self._next + steps * per_step, count)
        return np.ascontiguousarray(self._products.vectors[ahead], dtype=np.float32)

    def compact(self) -> float:
        """A compaction, and what serves after it; seconds of the compaction."""
        report = compact_once(self._log, self._store, self._lane, 0)
        self.replica.close()
        self.replica = restored(self._store, self._lane, self._log, InlineBuilder())
        return round(report.seconds, 1)

    def _append(self, records: Iterable[tuple[int, bytes]]) -> None:
        for record in records:
            self._log.append(*record)


def measure(rows: int, steps: int, every: int) -> dict[str, Any]:
    """The whole runbook."""
    per_step = rows // 100
    vectors, _ = seasonal(rows + (steps + _AHEAD_STEPS) * per_step)
    products = made_of(vectors, vectors.shape[1], rows)
    made = prepared("runbook", products, rows)
    queries = clustered_vectors.queries()
    timeline: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        runbook = Runbook(Path(name) / "store", made, products, rows)
        for step in range(1, steps + 1):
            runbook.turn_over(per_step)
            asked = queries[np.arange(step * _SEARCHES // 2, (step + 1) * _SEARCHES // 2) % len(queries)]
            asked = np.concatenate([asked, runbook.upcoming(_AHEAD_STEPS, per_step, _SEARCHES // 2)])
            done: dict[str, Any] = {"step": step, **runbook.searches(asked)}
            done["delta_rows"] = len(runbook.replica.view.delta.slots)
            if step % every == 0 and step < steps:
                done["compaction_s"] = runbook.compact()
            timeline.append(done)
            print(done, flush=True)
        runbook.replica.close()
    recalls = [each["recall@10"] for each in timeline]
    return {
        "live": rows,
        "steps": steps,
        "turned_over": steps * per_step,
        "recall@10_min": min(recalls),
        "recall@10_mean": round(float(np.mean(recalls)), 4),
        "p99_ms_max": max(each["p99_ms"] for each in timeline),
        "compactions": sum("compaction_s" in each for each in timeline),
        "timeline": timeline,
    }


def main() -> None:
    """Run it on the clustered vectors."""
    given = arguments(steps=60, compact_every=15)
    figures = measure(given.rows, given.steps, given.compact_every)
    save("runbook", "Does recall hold at every step while the catalogue turns over and drifts?", figures)


if __name__ == "__main__":
    main()
