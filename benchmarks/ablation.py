"""What do dimension and code cost in recall, bytes and time?

FAISS alone, on the first rows of the clustered vectors: reduced to 512 (as they are), 256 and 128 dimensions by PCA,
and kept as fp16, as 8 bits per dimension, as 4-bit codes of four dimensions each, the same after OPQ, and as 32
bytes of 8-bit codes. 512 lists, of which 128 are probed. Recall@10 is of the full vectors' true nearest: of the
codes alone, and with the best 100 scored again by the full vectors, as a node does.

    python -m benchmarks.ablation
"""

import time
from typing import Any

import faiss
import numpy as np

from benchmarks.measuring import K, arguments, timed
from benchmarks.report import save
from benchmarks.vectors import Numbers, Single, exact, load, recall

_LISTS, _PROBES, _RESCORED = 512, 128, 100
_ROWS_MAX = 100_000
_OPQ_ITERATIONS = 10


def codes_of(dim: int) -> dict[str, tuple[str, int]]:
    """Name → (FAISS factory string, bytes of a row's code); ``np``: no training for polysemous codes."""
    return {
        "fp16": (f"IVF{_LISTS},SQfp16", 2 * dim),
        "8 bits": (f"IVF{_LISTS},SQ8", dim),
        "4 bits of 4": (f"IVF{_LISTS},PQ{dim // 4}x4fs", dim // 8),
        "OPQ, 4 bits of 4": (f"OPQ{dim // 4},IVF{_LISTS},PQ{dim // 4}x4fs", dim // 8),
        "32 bytes": (f"IVF{_LISTS},PQ32np", 32),
    }


def reduced(vectors: Single, queries: Single, dim: int) -> tuple[Single, Single]:
    """By PCA of the vectors, turned at random (else the first codes would carry nearly everything), and normalised."""
    if dim == vectors.shape[1]:
        return vectors, queries
    pca = faiss.PCAMatrix(vectors.shape[1], dim, 0, True)
    pca.train(vectors[:30_000])
    parts = [pca.apply(each) for each in (vectors, queries)]
    for part in parts:
        faiss.normalize_L2(part)
    return parts[0], parts[1]


def built(factory: str, vectors: Single) -> tuple[Any, float]:
    """A trained and filled index, and the seconds that took."""
    dim = vectors.shape[1]
    index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    lists = faiss.downcast_index(faiss.extract_index_ivf(index))
    lists.cp.niter, lists.nprobe = 8, _PROBES
    codes = faiss.ProductQuantizer(dim, dim // 4, 4)  # kept alive here while the rotation learns with it
    if factory.startswith("OPQ"):
        rotation = faiss.downcast_VectorTransform(faiss.downcast_index(index).chain.at(0))
        rotation.pq, rotation.niter, rotation.max_train_points = codes, _OPQ_ITERATIONS, 16_384
    if hasattr(lists, "pq"):
        lists.pq.cp.niter, lists.pq.cp.max_points_per_centroid = 10, 64
    began = time.perf_counter()
    index.train(vectors[: 64 * _LISTS])
    index.add(vectors)
    return index, round(time.perf_counter() - began, 1)


def measure(index: Any, queries: Single, full: Single, full_queries: Single, truth: Numbers) -> dict[str, Any]:
    """Recall@10 by codes alone and after re-scoring, each with its time."""

    def rescored(place: int) -> list[int]:
        rows = index.search(queries[place : place + 1], _RESCORED)[1][0]
        rows = rows[rows >= 0]
        best: list[int] = rows[np.argsort(-(full[rows] @ full_queries[place]))[:K]].tolist()
        return best

    def alone(place: int) -> list[int]:
        found: list[int] = index.search(queries[place : place + 1], K)[1][0].tolist()
        return found

    places: Any = list(range(len(queries)))
    by_codes, codes_times = timed(alone, places)
    by_vectors, times = timed(rescored, places)
    return {
        "codes_alone": {"recall@10": recall(by_codes, truth), "mean_ms": codes_times["mean_ms"]},
        "rescored": {"recall@10": recall(by_vectors, truth), "mean_ms": times["mean_ms"], "p99_ms": times["p99_ms"]},
    }


def main() -> None:
    """Every dimension with every code."""
    given = arguments()
    vectors = load("clustered", min(given.rows, _ROWS_MAX), 0)
    full, full_queries = np.ascontiguousarray(vectors.rows, dtype=np.float32), vectors.queries[:200]
    truth = exact(vectors.rows, full_queries)
    rows: list[dict[str, Any]] = []
    for dim in (512, 256, 128):
        short, queries = reduced(full, full_queries, dim)
        for name, (factory, code_bytes) in codes_of(dim).items():
            index, seconds = built(factory, short)
            found = measure(index, queries, full, full_queries, truth)
            rows.append({"dim": dim, "code": name, "bytes_per_row": code_bytes, "build_s": seconds, **found})
            print(rows[-1], flush=True)
    figures = {"rows": len(full), "lists": _LISTS, "nprobe": _PROBES, "rescored": _RESCORED, "table": rows}
    save("ablation", "What do dimension and code cost in recall, bytes and time?", figures)


if __name__ == "__main__":
    main()
