"""The index of a generation's rows: FAISS IVF with 4-bit product quantization, searched by fast scan."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss as _typed_faiss
import numpy as np
import numpy.typing as npt

from index_nodes.manifest import IndexFacts
from index_nodes.passing import LocalRows, Passing, best_rows, scan
from schemas.embeddings import Vector

faiss: Any = _typed_faiss  # its type stubs know neither its keyword arguments nor its array overloads
faiss.omp_set_num_threads(1)  # one thread per search; concurrency comes from queries

FLAT_ROWS_MAX = 4096
"""Up to here an exact scan costs no more than a search of lists, and needs no training."""
RECALL_FLOOR = 0.95
"""A generation with less is rejected."""
RECALL_AIM = 0.975
"""Probes are chosen for this much on our own samples, since the queries to come may be harder."""
_TRAINING_ROWS_PER_LIST = 64
_QUERIES = 200
_RESCORED = (100, 200, 400, 800, 1600)
_ROW_SCANNED_NS, _ROW_RESCORED_NS = 6.0, 400.0
"""Measured with 384 dimensions: 96 four-bit codes by fast scan; one fp16 row gathered, widened and multiplied."""


@dataclass(frozen=True)
class FlatIndex:
    """Few rows, scanned exactly; ``vectors`` (n, dim) float32."""

    vectors: Vector

    def search(self, query: Vector, wanted: int, passing: Passing) -> LocalRows:
        """The ``wanted`` best passing rows, or all that pass, in any order."""
        if passing.count * 4 < len(self.vectors):
            return scan(self.vectors, query, wanted, passing.rows)
        return best_rows(passing.rows, (self.vectors @ query)[passing.rows], wanted)


@dataclass(frozen=True)
class IvfIndex:
    """Many rows; ids are row numbers."""

    index: Any
    facts: IndexFacts
    rows: int

    def search(self, query: Vector, wanted: int, passing: Passing) -> LocalRows:
        """Candidates among the passing rows, at least ``wanted`` of them unless too few lists hold any."""
        fetched = max(self.facts.rescored, 2 * wanted)
        share = passing.count / self.rows
        # The fewer rows pass, the further away are the nearest of them.
        nprobe = min(self.facts.nlist, math.ceil(self.facts.nprobe / share))
        selector = faiss.IDSelectorBitmap(passing.packed)
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=nprobe)
        _, found = self.index.search(query[None], fetched, params=parameters)
        rows: LocalRows = found[0]
        return rows[rows >= 0]


def build(vectors: npt.NDArray[np.float16], seed: int = 1) -> tuple[Any, IndexFacts]:
    """Train, fill and measure an index.

    Args:
        vectors: (n, dim) float16 of unit norm, n > FLAT_ROWS_MAX.
        seed: of the samples; equal input gives equal files.

    Returns:
        The FAISS index, and how to search it; the caller compares the recall with RECALL_FLOOR.
    """
    random = np.random.default_rng(seed)
    rows, dim = vectors.shape
    nlist = lists_of(rows)
    index = faiss.index_factory(dim, f"IVF{nlist},PQ{subquantizers_of(dim)}x4fs", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.seed = 10, seed
    sample = np.sort(random.permutation(rows)[: nlist * _TRAINING_ROWS_PER_LIST])
    index.train(vectors[sample].astype(np.float32))
    for start in range(0, rows, 65_536):
        index.add(vectors[start : start + 65_536].astype(np.float32))
    return index, measure(index, vectors, nlist, random)


def lists_of(rows: int) -> int:
    """The number of lists: about 4 sqrt(n), a power of two, with enough rows in each to train on."""
    wanted = 4 * math.sqrt(rows)
    return 1 << max(4, min(round(math.log2(wanted)), int(math.log2(rows / 39))))


def subquantizers_of(dim: int) -> int:
    """Sub-quantizers of four dimensions each (4 bits of code per 4 dimensions); finer where vectors are short."""
    width = 4 if dim >= 64 else 2
    return dim // width if dim % width == 0 else dim


def measure(index: Any, vectors: npt.NDArray[np.float16], nlist: int, random: np.random.Generator) -> IndexFacts:
    """The cheapest search whose recall@10 on sampled queries reaches the aim, or the best there is."""
    queries = _sample_queries(vectors, random)
    truth = _exact(vectors, queries)
    best = IndexFacts(nlist=nlist, nprobe=nlist, rescored=_RESCORED[-1], recall_at_10=0.0)
    cheapest = math.inf
    for nprobe in [2**power for power in range(2, nlist.bit_length())]:
        scanned_ns = nprobe / nlist * len(vectors) * _ROW_SCANNED_NS
        if scanned_ns >= cheapest:
            break
        parameters = faiss.SearchParametersIVF(nprobe=nprobe)
        _, candidates = index.search(queries, _RESCORED[-1], params=parameters)
        for rescored in _RESCORED:
            recall = _recall(vectors, queries, candidates[:, :rescored], truth)
            cost = scanned_ns + rescored * _ROW_RESCORED_NS
            reached = recall >= RECALL_AIM
            if (reached and cost < cheapest) or (cheapest == math.inf and recall > best.recall_at_10):
                best = IndexFacts(nlist=nlist, nprobe=nprobe, rescored=rescored, recall_at_10=round(recall, 4))
            if reached:
                cheapest = min(cheapest, cost)
                break
    return best


def load(path: Path, facts: IndexFacts, rows: int) -> IvfIndex:
    """The index in a file, whose lists stay in the mapped file."""
    return IvfIndex(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC), facts, rows)


def save(index: Any, path: Path) -> None:
    faiss.write_index(index, str(path))


def _sample_queries(vectors: npt.NDArray[np.float16], random: np.random.Generator) -> Vector:
    """Rows moved by noise of half their length: near a product, and like none exactly."""
    rows = vectors[np.sort(random.choice(len(vectors), min(_QUERIES, len(vectors)), replace=False))].astype(np.float32)
    noise = random.standard_normal(rows.shape).astype(np.float32)
    moved = rows + 0.5 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return np.ascontiguousarray(moved / np.linalg.norm(moved, axis=1, keepdims=True))


def _exact(vectors: npt.NDArray[np.float16], queries: Vector) -> npt.NDArray[np.float32]:
    """(q,) float32: the tenth greatest score of each query."""
    best = np.full((len(queries), 10), -2.0, np.float32)
    for start in range(0, len(vectors), 16_384):
        scores = queries @ vectors[start : start + 16_384].astype(np.float32).T
        best = np.partition(np.concatenate([best, scores], axis=1), -10, axis=1)[:, -10:]
    tenth: npt.NDArray[np.float32] = best.min(axis=1)
    return tenth


def _recall(
    vectors: npt.NDArray[np.float16], queries: Vector, candidates: LocalRows, tenth: npt.NDArray[np.float32]
) -> float:
    """Share of the ten best that are among the candidates; a score equal to the tenth counts, as rows may be equal."""
    found = 0
    for query, rows, least in zip(queries, candidates, tenth, strict=True):
        scores = vectors[rows[rows >= 0]].astype(np.float32) @ query
        found += min(10, int(np.count_nonzero(scores >= least - 1e-6)))
    return found / (10 * len(queries))
