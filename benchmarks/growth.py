"""How do cost per query, memory and build time grow with rows?

The clustered vectors in steps up to 1,000,000: each step adds its products to the log behind the last generation,
compacts, and opens the new one in a fresh process. It stops where the next step would not fit into the given time,
and says so. Raw: FAISS on the same files.

    python -m benchmarks.growth [--seconds 900]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import clustered_vectors
from benchmarks.in_memory import MemoryLog
from benchmarks.measuring import anonymous_bytes, arguments, recall_against, searched, timed, trim
from benchmarks.prepared import Prepared, facts_of
from benchmarks.products import lane_of, made_of
from benchmarks.raw import raw_faiss
from benchmarks.report import save
from benchmarks.vectors import exact
from index_nodes.compaction.compaction import compact_once
from index_nodes.generations.heads import newest_head
from topics.store import FileStore

_SIZES = (100_000, 200_000, 400_000, 700_000, 1_000_000)
_QUERIES = 200


def opened(folder: Path) -> None:
    """In a fresh process: what one generation takes and how it answers."""
    lane = lane_of(clustered_vectors.DIM)
    queries, truth = np.load(folder / "queries.npy"), np.load(folder / "truth.npy")
    store = FileStore(folder / "store")
    head = newest_head(store, lane, 0)
    assert head is not None
    made = Prepared(store, lane, head, 0.0)
    trim()
    before = anonymous_bytes()
    began = time.perf_counter()
    replica = made.replica(made.log())
    opened_s = time.perf_counter() - began
    view = replica.view
    answers, times = timed(lambda query: searched(view, query), queries)
    trim()
    anonymous = anonymous_bytes() - before
    raw = raw_faiss(made)
    raw_times = timed(raw.search, queries)[1] if raw else None
    figures = {
        **facts_of(made.manifest),
        "recall@10": recall_against(answers, truth),
        **times,
        "raw_faiss": raw_times,
        "open_s": round(opened_s, 2),
        "anonymous_bytes_per_row": round(anonymous / made.manifest.rows, 1),
        "file_bytes_per_row": round(sum(path.stat().st_size for path in made.folder.iterdir()) / made.manifest.rows),
    }
    print(json.dumps(figures))


def grow(folder: Path, sizes: list[int], budget_s: float) -> tuple[list[dict[str, Any]], str]:
    """Figures by size, and why it ended."""
    began, lane, store = time.monotonic(), lane_of(clustered_vectors.DIM), FileStore(folder / "store")
    vectors = clustered_vectors.rows(sizes[-1])
    products = made_of(vectors, clustered_vectors.DIM, sizes[0])
    queries = clustered_vectors.queries(_QUERIES)
    np.save(folder / "queries.npy", queries)
    steps: list[dict[str, Any]] = []
    last_s, last_size = 0.0, 0
    for size in sizes:
        predicted_s = last_s * size / max(1, last_size)
        if time.monotonic() - began + predicted_s > budget_s:
            return steps, f"{size} rows would have taken another {predicted_s:.0f} s"
        step_began = time.monotonic()
        log = _log_behind(store, lane)
        for number in range(last_size, size):
            log.append(*products.added(number))
        report = compact_once(log, store, lane, 0)
        np.save(folder / "truth.npy", exact(vectors[:size], queries))
        command = [sys.executable, "-m", "benchmarks.growth", "--child", str(folder)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        steps.append({**json.loads(output.splitlines()[-1]), "compaction_s": round(report.seconds, 1)})
        print(steps[-1], flush=True)
        _forget_builds(store, lane)
        last_s, last_size = time.monotonic() - step_began, size
    return steps, "all sizes were measured"


def _log_behind(store: FileStore, lane: Any) -> MemoryLog:
    head = newest_head(store, lane, 0)
    return MemoryLog(lane, {int(part): offset for part, offset in head.next_offsets.items()} if head else None)


def _forget_builds(store: FileStore, lane: Any) -> None:
    """Disk space: keep the newest build only."""
    head = newest_head(store, lane, 0)
    for key in store.list("builds"):
        if head is not None and f"/{head.build}/" not in key:
            store.delete(key)


def fitted(steps: list[dict[str, Any]], figure: str) -> dict[str, float] | None:
    """A line through a figure by millions of rows."""
    if len(steps) < 2:
        return None
    millions = [step["rows"] / 1e6 for step in steps]
    slope, start = np.polyfit(millions, [step[figure] for step in steps], 1)
    return {"at_0": round(float(start), 4), "per_million_rows": round(float(slope), 4)}


def main() -> None:
    """Grow, with ``--child`` open one size."""
    given = arguments(child="", seconds=900.0)
    if given.child:
        opened(Path(given.child))
        return
    # With few rows, as for a trial, the steps shrink with them.
    sizes = [size * min(given.rows, 200_000) // 200_000 for size in _SIZES]
    with tempfile.TemporaryDirectory() as name:
        steps, ended = grow(Path(name), sizes, given.seconds)
    fits = {figure: fitted(steps, figure) for figure in ("mean_ms", "compaction_s", "open_s")}
    save(
        "growth",
        "How do cost per query, memory and build time grow with rows?",
        {"steps": steps, "ended": ended, "fitted": fits},
    )


if __name__ == "__main__":
    main()
