"""At which size does a graph over new rows pay, and how thorough has it to be?

Blocks of the newest rows, searched exactly (FAISS over float16, in place) and by hnswlib graphs of several settings.

    python -m benchmarks.blocks
"""

import time
from typing import Any

import hnswlib
import numpy as np

from benchmarks.measuring import arguments
from benchmarks.report import save
from benchmarks.vectors import Half, Single, exact, load, recall
from index_nodes.rows.exact import ExactRows

_BLOCKS = (4096, 16_384)
_GRAPHS = ((16, 150), (16, 200), (32, 400))
_EFS = (48, 96)
_ROUNDS = 5


def median_us(call: Any, queries: Single) -> float:
    """Median over rounds of the mean time of a query."""
    means = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        for query in queries:
            call(query[None])
        means.append((time.perf_counter() - began) / len(queries) * 1e6)
    return round(float(np.median(means)), 1)


def block(rows: Half, queries: Single) -> dict[str, Any]:
    """One block, exactly and by every graph."""
    truth, scan = exact(rows, queries), ExactRows(rows).index
    figures: dict[str, Any] = {"exact_us": median_us(lambda query: scan.search(query, 10), queries), "graphs": []}
    vectors = rows.astype(np.float32)
    for m, ef_construction in _GRAPHS:
        graph = hnswlib.Index(space="ip", dim=vectors.shape[1])
        graph.init_index(len(rows), M=m, ef_construction=ef_construction, random_seed=100)
        began = time.perf_counter()
        graph.add_items(vectors, num_threads=1)
        build_s = round(time.perf_counter() - began, 2)
        for ef in _EFS:
            graph.set_ef(ef)
            found, _ = graph.knn_query(queries, k=10, num_threads=1)
            figures["graphs"].append(
                {
                    "m": m,
                    "ef_construction": ef_construction,
                    "ef": ef,
                    "build_s": build_s,
                    "recall@10": recall(found.astype(np.int64).tolist(), truth),
                    "us": median_us(lambda query, graph=graph: graph.knn_query(query, k=10, num_threads=1), queries),
                }
            )
    return figures


def main() -> None:
    """Both sets, and both sizes."""
    given = arguments()
    figures = {}
    for name in given.sets.split(","):
        vectors = load(name, given.rows, given.extra)
        figures[name] = {str(rows): block(np.ascontiguousarray(vectors.extra[:rows]), vectors.queries[:300])
                         for rows in _BLOCKS}  # fmt: skip
    save("blocks", "At which size does a graph over new rows pay?", figures)


if __name__ == "__main__":
    main()
