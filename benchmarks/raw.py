"""What FAISS and hnswlib cost by themselves, on the same vectors: the yardstick of every benchmark."""

import time
from dataclasses import dataclass
from typing import Any

import faiss
import hnswlib
import numpy as np

from benchmarks.cache import cache_folder
from benchmarks.measuring import K, timed
from benchmarks.prepared import Prepared
from benchmarks.vectors import Half, Numbers, Single, exact, recall
from index_nodes.generations.generation import INDEX, VECTORS

M, EF_CONSTRUCTION = 16, 150


@dataclass(frozen=True)
class RawFaiss:
    """The generation's FAISS index and its full vectors, without anything of ours around them."""

    index: Any
    vectors: Half
    nprobe: int
    rescored: int

    def search(self, query: Single, selector: Any = None) -> list[int]:
        """Rows: as many candidates as the node takes, the best ten by their full vectors."""
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=self.nprobe)
        rows = self.index.search(query[None], self.rescored, params=parameters)[1][0]
        rows = rows[rows >= 0]
        scores = self.vectors[rows].astype(np.float32) @ query
        best: list[int] = rows[np.argsort(-scores)[:K]].tolist()
        return best


def raw_faiss(made: Prepared) -> RawFaiss | None:
    """Read again from the generation's own files; None where it is so small that it has no lists."""
    manifest = made.manifest
    if not manifest.index.nlist:
        return None
    index = faiss.read_index(str(made.folder / INDEX), faiss.IO_FLAG_MMAP_IFC)
    shape = (manifest.rows, made.lane.space.dim)
    vectors = np.memmap(made.folder / VECTORS, np.float16, "r", shape=shape)
    return RawFaiss(index, vectors, manifest.index.nprobe, max(2 * K, manifest.index.rescored))


def measured(raw: RawFaiss, queries: Single) -> dict[str, Any]:
    """Time and recall@10 of the raw calls, against exact search over the generation's own vectors."""
    truth = exact(raw.vectors, queries)
    found, times = timed(raw.search, queries)
    return {"recall@10": recall(found, truth), **times}


def hnsw(name: str, vectors: Half) -> tuple[Any, float]:
    """A graph over all rows and the seconds it took to build; kept in the cache, as it takes minutes."""
    path = cache_folder() / f"hnsw-{name}-{len(vectors)}-{M}-{EF_CONSTRUCTION}.bin"
    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    seconds = path.with_suffix(".seconds")
    if path.exists():
        index.load_index(str(path))
        return index, float(seconds.read_text())
    began = time.perf_counter()
    index.init_index(max_elements=len(vectors), M=M, ef_construction=EF_CONSTRUCTION, random_seed=100)
    for start in range(0, len(vectors), 10_000):
        index.add_items(vectors[start : start + 10_000].astype(np.float32), num_threads=2)
    taken_s = time.perf_counter() - began
    index.save_index(str(path))
    seconds.write_text(f"{taken_s:.1f}")
    return index, taken_s


def hnsw_at(index: Any, queries: Single, truth: Numbers, aim: float) -> dict[str, Any]:
    """The cheapest ef whose recall@10 reaches the aim, or the widest tried."""
    figures: dict[str, Any] = {}
    for ef in (16, 32, 64, 128, 256, 512, 1024):
        index.set_ef(ef)
        found = [index.knn_query(query, k=K, num_threads=1)[0][0].tolist() for query in queries]
        figures = {"ef": ef, "recall@10": recall(found, truth)}
        if figures["recall@10"] >= aim:
            break
    _, times = timed(lambda query: index.knn_query(query, k=K, num_threads=1), queries)
    return {**figures, **times}
