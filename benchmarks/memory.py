"""How many bytes of anonymous memory does a row of the generation take, and how many would a graph take?

A fresh process opens the generation and answers searches; what its anonymous memory grew by is ours (vectors, lists
and columns are mapped files, which the system may drop at any time). Beside it, in a fresh process of its own, a
FAISS index of the same rows with nothing around it, and an hnswlib graph of all rows at the same recall.

    python -m benchmarks.memory
"""

import json
import subprocess
import sys
from typing import Any

from benchmarks import raw
from benchmarks.measuring import (
    anonymous_bytes,
    arguments,
    memory_of,
    recall_against,
    searched,
    timed,
    trim,
)
from benchmarks.prepared import prepared
from benchmarks.products import Products, products_of
from benchmarks.report import save
from benchmarks.vectors import VectorSet, exact, load


def measure(kind: str, vectors: VectorSet) -> dict[str, Any]:
    """One of ``ours``, ``faiss`` and ``hnswlib``, in this process."""
    products = products_of(vectors)
    queries = vectors.queries[:300]
    truth = exact(vectors.rows, queries)
    figures = {"ours": _ours, "faiss": _faiss, "hnswlib": _hnswlib}[kind](vectors, products, queries, truth)
    return {"kind": kind, **figures}


def _ours(vectors: VectorSet, products: Products, queries: Any, truth: Any) -> dict[str, Any]:
    made = prepared(vectors.name, products, len(vectors.rows))
    trim()
    before, resident_before = anonymous_bytes(), memory_of("Rss")
    replica = made.replica(made.log())
    view = replica.view
    answers, times = timed(lambda query: searched(view, query), queries)
    trim()
    used, resident = anonymous_bytes() - before, memory_of("Rss") - resident_before
    files = {path.name: path.stat().st_size for path in sorted(made.folder.iterdir())}
    return {
        **_per_row(used, vectors),
        "resident_mapped_bytes_per_row": round((resident - used) / len(vectors.rows), 1),
        "file_bytes_per_row": {name: round(size / len(vectors.rows), 1) for name, size in files.items()},
        "recall@10": recall_against(answers, truth),
        **times,
    }


def _faiss(vectors: VectorSet, products: Products, queries: Any, truth: Any) -> dict[str, Any]:  # noqa: ARG001
    made = prepared(vectors.name, products, len(vectors.rows))
    trim()
    before = anonymous_bytes()
    index = raw.raw_faiss(made)
    assert index is not None
    times = raw.measured(index, queries)
    trim()
    return {**_per_row(anonymous_bytes() - before, vectors), **times}


def _hnswlib(vectors: VectorSet, products: Products, queries: Any, truth: Any) -> dict[str, Any]:  # noqa: ARG001
    trim()
    before = anonymous_bytes()
    index, seconds = raw.hnsw(vectors.name, vectors.rows)
    trim()
    used = anonymous_bytes() - before
    aim = 0.95
    return {**_per_row(used, vectors), "build_s": seconds, **raw.hnsw_at(index, queries, truth, aim)}


def _per_row(used: int, vectors: VectorSet) -> dict[str, float]:
    return {"anonymous_bytes_per_row": round(used / len(vectors.rows), 1)}


def _in_fresh_process(kind: str, name: str, rows: int, extra: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.memory", "--child", kind, "--sets", name]
    command += ["--rows", str(rows), "--extra", str(extra)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


def main() -> None:
    """Each kind in fresh processes; what has to be built is built before, in another."""
    given = arguments(child="")
    if given.child:
        print(json.dumps(measure(given.child, load(given.sets, given.rows, given.extra))))
        return
    figures: dict[str, Any] = {}
    for name in given.sets.split(","):
        vectors = load(name, given.rows, given.extra)
        prepared(name, products_of(vectors), given.rows)
        raw.hnsw(name, vectors.rows)
        made = {kind: _in_fresh_process(kind, name, given.rows, given.extra) for kind in ("ours", "faiss", "hnswlib")}
        ratio = made["hnswlib"]["anonymous_bytes_per_row"] / made["ours"]["anonymous_bytes_per_row"]
        figures[name] = {"rows": given.rows, **made, "hnswlib_to_ours": round(ratio, 1)}
    save("memory", "How many bytes of anonymous memory does a row take, and how many would a graph take?", figures)


if __name__ == "__main__":
    main()
