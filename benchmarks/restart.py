"""How long does a node take from its start to SERVING, and how does that grow with what came after the generation?

Each time a fresh process: Python and its imports, the generation with every file compared with its checksum, and the
log behind it (in memory, so a broker's own time comes on top). The first search is timed too, as it finds cold pages.

    python -m benchmarks.restart
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.in_memory import MemoryLog
from benchmarks.measuring import arguments, recall_of, searched
from benchmarks.prepared import Prepared, facts_of, prepared, restored
from benchmarks.products import Products, lane_of, products_of
from benchmarks.raw import raw_faiss
from benchmarks.report import save
from benchmarks.vectors import VectorSet, load
from index_nodes.rows.graph import ThreadBuilder
from topics.store import FileStore

_ROUNDS = 3


def serve(folder: Path, store: Path, dim: int) -> None:
    """In a fresh process: restore, search once, and say what it took."""
    lane = lane_of(dim)
    log = MemoryLog.read_from(folder / "log", lane)
    queries = np.load(folder / "queries.npy")
    began = time.perf_counter()
    replica = restored(FileStore(store), lane, log, ThreadBuilder())
    serving = time.perf_counter()
    found = searched(replica.view, queries[0])
    answered = time.perf_counter()
    assert len(found.hits) == 10, found
    figures = {"restore_s": serving - began, "first_search_ms": (answered - serving) * 1000}
    print(json.dumps({**figures, "recall@10": recall_of(replica.view, queries[:30])}))


def measure(vectors: VectorSet, deltas: list[int]) -> dict[str, Any]:
    """One set, for each size of the delta the median of three starts."""
    products = products_of(vectors)
    made = prepared(vectors.name, products, len(vectors.rows))
    by_delta = {str(delta): _starts(made, products, vectors, delta) for delta in deltas}
    seconds = [each["restore_s"] for each in by_delta.values()]
    slope = float(np.polyfit(deltas, seconds, 1)[0]) if len(deltas) > 1 else 0.0
    return {
        **facts_of(made.manifest),
        "by_delta_rows": by_delta,
        "s_per_1000_delta_rows": round(slope * 1000, 3),
        "faiss_read_index_ms": _read_ms(made),
    }


def _starts(made: Prepared, products: Products, vectors: VectorSet, delta: int) -> dict[str, float]:
    log = made.log()
    for number in range(len(vectors.rows), len(vectors.rows) + delta):
        log.append(*products.added(number))
    with tempfile.TemporaryDirectory() as name:
        log.write(Path(name) / "log")
        np.save(Path(name) / "queries.npy", vectors.queries)
        runs = [_start(Path(name), made) for _ in range(_ROUNDS)]
    return {key: round(statistics.median(run[key] for run in runs), 4) for key in runs[0]}


def _start(folder: Path, made: Prepared) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.restart", "--child", str(folder), "--store", str(made.store.root)]
    output = subprocess.run(
        [*command, "--dim", str(made.lane.space.dim)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    imports = "import index_nodes.node"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", imports], check=True)
    figures["imports_s"] = time.perf_counter() - began
    return {**figures, "start_to_serving_s": figures["imports_s"] + figures["restore_s"]}


def _read_ms(made: Prepared) -> float:
    """FAISS's own opening of the same index file."""
    began = time.perf_counter()
    raw_faiss(made)
    return round((time.perf_counter() - began) * 1000, 2)


def main() -> None:
    """Measure both sets; with ``--child`` be the node."""
    given = arguments(child="", store="", dim=0)
    if given.child:
        serve(Path(given.child), Path(given.store), given.dim)
        return
    sets = [load(name, given.rows, given.extra) for name in given.sets.split(",")]
    deltas = [0, given.extra // 4, given.extra]
    figures = {each.name: measure(each, deltas) for each in sets}
    save("restart", "How long from the start of a node to SERVING, by rows behind the generation?", figures)


if __name__ == "__main__":
    main()
