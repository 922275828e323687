"""What does a compaction cost the searches beside it, and how fast does it build?

This process serves the generation with the extra rows behind it; another one compacts the same, as the compactor does.
Its peak memory is compared with this process's own, its rate with FAISS training and adding the same rows alone.

    python -m benchmarks.compaction
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.in_memory import MemoryLog
from benchmarks.measuring import K, arguments, memory_of, percentile_ms, rate, recall_of, searched, trim
from benchmarks.prepared import Prepared, facts_of, prepared
from benchmarks.products import lane_of, products_of
from benchmarks.report import save, spread
from benchmarks.streaming_updates import for_seconds
from benchmarks.vectors import Half, VectorSet, load
from index_nodes.compaction.compaction import compact_once
from index_nodes.compaction.compactor import give_way
from index_nodes.generations.ivf import subquantizers_of
from index_nodes.rows.graph import InlineBuilder
from index_nodes.views.view import IndexView
from topics.store import FileStore

_QUIET_S = 10.0


def compact(folder: Path, dim: int) -> None:
    """In a process of its own: compact what lies in a folder, and say what it took."""
    lane = lane_of(dim)
    log = MemoryLog.read_from(folder / "log", lane)
    trim()
    before = memory_of("Rss")
    began = time.perf_counter()
    give_way()
    report = compact_once(log, FileStore(folder / "store"), lane, 0)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert report.manifest is not None
    figures = {
        "seconds": round(seconds, 1),
        "rows_per_s": rate(report.manifest.rows, seconds),
        "peak_mib": round(peak / 2**20),
        "peak_above_start_mib": round((peak - before) / 2**20),
        "measured_recall@10": report.manifest.index.recall_at_10,
    }
    print(json.dumps(figures))


def measure(vectors: VectorSet) -> dict[str, Any]:
    """One set: searches quiet, beside a compaction, and quiet again."""
    products = products_of(vectors)
    made = prepared(vectors.name, products, len(vectors.rows))
    trim()
    without = memory_of("Rss")
    log = made.log()
    for number in range(len(vectors.rows), len(vectors.rows) + len(vectors.extra)):
        log.append(*products.added(number))
    replica = made.replica(log, InlineBuilder())
    replica.step(0.0)
    view = replica.view
    _searched(view, vectors, for_seconds(3.0))
    resident = memory_of("Rss")
    quiet, short_quiet = _searched(view, vectors, for_seconds(_QUIET_S))
    with tempfile.TemporaryDirectory() as name:
        child = _compacting(Path(name), made, log)
        beside, short_beside = _searched(view, vectors, lambda: child.poll() is not None)
        output, _ = child.communicate()
        if child.returncode:
            raise SystemExit(f"the compaction failed with {child.returncode}")
    again, short_again = _searched(view, vectors, for_seconds(_QUIET_S / 2))
    recall = recall_of(view, vectors.queries[:100])
    compaction = json.loads(output.splitlines()[-1])
    alone = faiss_alone(vectors.all, made.manifest.index.nlist)
    quiet_p99 = percentile_ms(quiet + again, 99)
    return {
        **facts_of(made.manifest),
        "extra": len(vectors.extra),
        "quiet": {"recall@10": recall, **spread(quiet + again)},
        "beside_a_compaction": {"recall@10": recall, **spread(beside)},
        "p99_beside_to_quiet": round(percentile_ms(beside, 99) / quiet_p99, 2),
        "short_or_failed_answers": short_quiet + short_beside + short_again,
        "compaction": compaction,
        "serving_resident_mib": round(resident / 2**20),
        "serving_resident_above_start_mib": round((resident - without) / 2**20),
        "peak_to_serving_resident": round(compaction["peak_mib"] * 2**20 / resident, 2),
        "faiss_train_and_add": alone,
        "rate_to_faiss": round(compaction["rows_per_s"] / alone["rows_per_s"], 2),
    }


def _compacting(folder: Path, made: Prepared, log: MemoryLog) -> "subprocess.Popen[str]":
    shutil.copytree(made.store.root, folder / "store")
    log.write(folder / "log")
    command = [sys.executable, "-m", "benchmarks.compaction", "--child", str(folder), "--dim", str(made.lane.space.dim)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _searched(view: IndexView, vectors: VectorSet, is_over: Any) -> tuple[list[float], int]:
    """Seconds of each search until it is over, and how many answers had fewer than ten hits."""
    seconds: list[float] = []
    short = 0
    while not is_over():
        began = time.perf_counter()
        found = searched(view, vectors.queries[len(seconds) % len(vectors.queries)])
        seconds.append(time.perf_counter() - began)
        short += len(found.hits) < K
    return seconds, short


def faiss_alone(vectors: Half, nlist: int) -> dict[str, Any]:
    """FAISS's own training and adding of the same rows, with as many lists."""
    dim = vectors.shape[1]
    index = faiss.index_factory(dim, f"IVF{max(16, nlist)},PQ{subquantizers_of(dim)}x4fs", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = 10
    sample = np.random.default_rng(1).permutation(len(vectors))[: 64 * max(16, nlist)]
    began = time.perf_counter()
    index.train(vectors[np.sort(sample)].astype(np.float32))
    trained = time.perf_counter()
    for start in range(0, len(vectors), 65_536):
        index.add(vectors[start : start + 65_536].astype(np.float32))
    added = time.perf_counter()
    return {
        "train_s": round(trained - began, 1),
        "add_s": round(added - trained, 1),
        "rows_per_s": rate(len(vectors), added - began),
        "add_rows_per_s": rate(len(vectors), added - trained),
    }


def main() -> None:
    """Measure both sets; with ``--child`` be the compactor."""
    given = arguments(child="", dim=0)
    if given.child:
        compact(Path(given.child), given.dim)
        return
    sets = [load(name, given.rows, given.extra) for name in given.sets.split(",")]
    figures = {each.name: measure(each) for each in sets}
    save("compaction", "What does a compaction cost the searches beside it, and how fast does it build?", figures)


if __name__ == "__main__":
    main()
