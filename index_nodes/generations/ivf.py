"""The index of a generation's rows: FAISS IVF with 4-bit product quantization, searched by fast scan."""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index_nodes.generations.manifest import IndexFacts
from index_nodes.rows.exact import SPARE, TIE, ExactRows
from index_nodes.rows.passing import LocalRows, Nearest, Passing, faiss
from index_nodes.rows.samples import between
from schemas.embeddings import Vector

faiss.omp_set_num_threads(1)  # one thread per search; concurrency comes from queries

FLAT_ROWS_MAX = 4096
"""Up to here an exact scan costs no more than a search of lists, and needs no training."""
RECALL_FLOOR = 0.95
"""A generation with less is rejected."""
RECALL_AIM = 0.975
"""Probes are chosen for this much on our own samples, since the queries to come may be harder."""
EXACT_ROWS_MAX = 4096
"""So few passing rows are compared one by one: it costs about twice an unfiltered search, and misses nothing."""
ROWS_PER_LIST_MIN = 20
_WHOLE_SHARE = 0.8
"""Where more than this passes, the few that do not are dropped from what was found, and no bitmap is made."""
_NEAREST_SEEN = 32
"""Passing rows expected among the nearest, by which a filter is told from one that excludes what is near."""
_TRAINING_ROWS_PER_LIST, _TRAINING_ROUNDS = 24, 6
_QUERIES = 128
"""Of each of two kinds; the harder counts."""
_RESIDUAL_ROWS = 4096
_RESCORED = (40, 60, 100, 150, 200, 300, 400, 600, 800, 1600)
_LIST_PROBED_NS, _ROW_SCANNED_NS, _ROW_RESCORED_NS = 500.0, 8.5, 400.0
"""Measured with 512 dimensions: a list opened; 128 four-bit codes by fast scan; a candidate kept and compared."""


@dataclass(frozen=True)
class IvfIndex:
    """Many rows; ids are row numbers, and ``exact`` are the same rows with their full vectors."""

    index: Any
    facts: IndexFacts
    exact: ExactRows

    def search(self, query: Vector, wanted: int, passing: Passing, effort: float = 1.0) -> Nearest:
        """At least the ``wanted`` nearest passing rows as far as was looked, or all that pass.

        The plan follows from how many pass. Nearly all: an ordinary search, from which those that do not are dropped.
        Few: they are compared one by one. Otherwise lists are searched for passing rows only, in more lists the fewer
        pass; unless the filter excludes what is near, for then nothing is known of where the nearest of the rest lie.
        With less ``effort`` fewer lists are probed and fewer candidates compared, and more is missed.
        """
        share = passing.about / len(self.exact)
        if share <= _WHOLE_SHARE:
            return self._among_some(query, wanted, passing, effort)
        (found,) = self._nearest(query[None], math.ceil(wanted / share), 1.0, None, effort)
        return self._kept(found, query, wanted, passing, effort)

    def search_all(self, queries: Vector, wanted: int, passing: Passing, effort: float = 1.0) -> list[Nearest]:
        """As :meth:`search`, for each of the queries (n, dim): nearly all passing, in one call of FAISS."""
        share = passing.about / len(self.exact)
        if share <= _WHOLE_SHARE:
            return [self._among_some(query, wanted, passing, effort) for query in queries]
        nearest = self._nearest(queries, math.ceil(wanted / share), 1.0, None, effort)
        return [
            self._kept(found, query, wanted, passing, effort) for query, found in zip(queries, nearest, strict=True)
        ]

    def _kept(self, found: Nearest, query: Vector, wanted: int, passing: Passing, effort: float) -> Nearest:
        """Of what was found among all, what passes; looked for anew where that is not enough."""
        kept = found.among(passing.includes(found.rows))
        return kept if len(kept.rows) >= wanted else self._among_some(query, wanted, passing, effort)

    def _among_some(self, query: Vector, wanted: int, passing: Passing, effort: float) -> Nearest:
        """Where not nearly all pass."""
        if passing.count > max(wanted, EXACT_ROWS_MAX) and self._has_near(query, passing):
            (found,) = self._nearest(query[None], wanted, passing.count / len(self.exact), passing.selector, effort)
            if len(found.rows) >= wanted:
                return found
        return self.exact.search(query, wanted, passing)

    def _nearest(self, queries: Vector, wanted: int, share: float, selector: Any, effort: float) -> list[Nearest]:
        fetched = wanted + SPARE
        rescored = max(math.ceil(self.facts.rescored * effort), 2 * fetched)
        grown = max(1.0, rescored / self.facts.rescored) / share
        nprobe = min(self.facts.nlist, math.ceil(self.facts.nprobe * effort * math.sqrt(grown)))
        scores, rows = self._rescoring.search(queries, fetched, params=_parameters(fetched, rescored, nprobe, selector))
        # What is missing is missing at the end.
        return [
            Nearest(own, its) if own[-1] >= 0 else Nearest(own, its).among(own >= 0)
            for own, its in zip(rows, scores, strict=True)
        ]

    def _has_near(self, query: Vector, passing: Passing) -> bool:
        """Whether at least half as many of the nearest rows pass as of all rows."""
        expected = _NEAREST_SEEN
        seen = min(len(self.exact), math.ceil(expected * len(self.exact) / passing.count))
        parameters = faiss.SearchParametersIVF(nprobe=self.facts.nprobe)
        _, rows = self.index.search(query[None], seen, params=parameters)
        near = rows[0][rows[0] >= 0]
        return 2 * int(np.count_nonzero(passing.includes(near))) >= expected * len(near) / seen

    @property
    def codebook(self) -> Any:
        """A trained ``IndexPQFastScan`` without rows: four bits for every two dimensions, as what chooses the lists."""
        coarse = faiss.clone_index(self.index.quantizer)  # a copy: it may outlive this index
        coarse.reset()
        return coarse

    @cached_property
    def _rescoring(self) -> Any:
        return faiss.IndexRefine(self.index, self.exact.index)


def _parameters(fetched: int, rescored: int, nprobe: int, selector: Any) -> Any:
    if selector is None:
        return _unfiltered(fetched, rescored, nprobe)
    lists = faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)
    return faiss.IndexRefineSearchParameters(k_factor=(rescored + 0.5) / fetched, base_index_params=lists)


@lru_cache(maxsize=64)
def _unfiltered(fetched: int, rescored: int, nprobe: int) -> Any:
    """To make these takes several per cent of a search."""
    lists = faiss.SearchParametersIVF(nprobe=nprobe)
    return faiss.IndexRefineSearchParameters(k_factor=(rescored + 0.5) / fetched, base_index_params=lists)


def build(
    vectors: npt.NDArray[np.float16],
    template: IvfIndex | None = None,
    recent: LocalRows | None = None,
    seed: int = 1,
) -> tuple[Any, IndexFacts]:
    """Train or take over a codebook, fill and measure an index.

    Args:
        vectors: (n, dim) float16 of unit norm, n > FLAT_ROWS_MAX.
        template: the index whose lists and codebook are used again; None: they are learnt from these rows.
        recent: rows that came since the build before.
        seed: of the samples; equal input gives equal files.

    Returns:
        The FAISS index, and how to search it; the caller compares the recall with RECALL_FLOOR, and says where the
        codebook comes from.
    """
    random = np.random.default_rng(seed)
    index = _trained(vectors, random, seed) if template is None else _emptied(template.index)
    for start in range(0, len(vectors), 65_536):
        index.add(vectors[start : start + 65_536].astype(np.float32))
    return index, measure(index, vectors, random, recent)


def _trained(vectors: npt.NDArray[np.float16], random: np.random.Generator, seed: int) -> Any:
    """An empty index with lists and codebook of its own."""
    rows, dim = vectors.shape
    nlist = lists_of(rows)
    sample = np.sort(random.permutation(rows)[: nlist * _TRAINING_ROWS_PER_LIST])
    training = vectors[sample].astype(np.float32)
    index = _empty(_coarse(_centroids(training, nlist, seed), seed), subquantizers_of(dim))
    index.pq.cp.seed = seed
    index.train(training)
    return index


def _centroids(training: Vector, nlist: int, seed: int) -> Vector:
    """(nlist, dim): means of those that are near each other, of unit norm."""
    dim = training.shape[1]
    clustering = faiss.Clustering(dim, nlist)
    clustering.niter, clustering.seed, clustering.spherical = _TRAINING_ROUNDS, seed, True
    clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, _TRAINING_ROWS_PER_LIST
    # The GPU build of FAISS clusters on every GPU there is; the other says that there is none.
    has_gpu = faiss.get_num_gpus() > 0
    nearest = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(dim)) if has_gpu else _quantized(dim, seed)
    clustering.train(training, nearest)
    centroids: Vector = faiss.vector_to_array(clustering.centroids).reshape(nlist, dim)
    return centroids


def _quantized(dim: int, seed: int) -> Any:
    """Vectors as 4 bits for every two dimensions: a search takes a fifth of the time, and finds as good lists."""
    index = faiss.IndexPQFastScan(dim, dim // 2 if dim % 2 == 0 else dim, 4, faiss.METRIC_INNER_PRODUCT)
    index.pq.cp.seed, index.pq.cp.min_points_per_centroid = seed, 1
    return index


def _coarse(centroids: Vector, seed: int) -> Any:
    """What chooses the lists."""
    coarse = _quantized(centroids.shape[1], seed)
    coarse.train(centroids)
    coarse.add(centroids)
    return coarse


def _empty(coarse: Any, subquantizers: int) -> Any:
    index = faiss.IndexIVFPQFastScan(coarse, coarse.d, coarse.ntotal, subquantizers, 4, faiss.METRIC_INNER_PRODUCT)
    index.by_residual = False  # a table of distances per query, not one per list
    index.own_fields = True
    coarse.this.disown()
    return index


def _emptied(template: Any) -> Any:
    """A copy without rows: the same lists, the same codebook."""
    index = _empty(faiss.clone_index(template.quantizer), template.pq.M)
    faiss.copy_array_to_vector(faiss.vector_to_array(template.pq.centroids), index.pq.centroids)
    index.is_trained = True
    return index


def lists_of(rows: int) -> int:
    """The number of lists: about 8 sqrt(n), a power of two, with enough rows in each to train on.

    Twice as many are a little faster, and take a third more memory: FAISS fills lists up to 32 rows.
    """
    wanted = 8 * math.sqrt(rows)
    return 1 << max(4, min(round(math.log2(wanted)), int(math.log2(rows / ROWS_PER_LIST_MIN))))


def subquantizers_of(dim: int) -> int:
    """Sub-quantizers of four dimensions each (4 bits of code per 4 dimensions); finer where vectors are short."""
    width = 4 if dim >= 64 else 2
    return dim // width if dim % width == 0 else dim


def measure(
    index: Any, vectors: npt.NDArray[np.float16], random: np.random.Generator, recent: LocalRows | None = None
) -> IndexFacts:
    """How to search: the cheapest way whose recall@10 on sampled queries reaches the aim, or the best there is.

    What came since the last build is sampled by itself, since a catalogue drifts and people ask for what is new; but a
    kind of query for which nothing is enough makes all others no dearer.
    """
    samples = [_between(vectors, vectors, random), _others(vectors, random)]
    nprobe, rescored, recall = _cheapest(index, vectors, samples)
    if recent is not None and len(recent) >= _QUERIES:
        newest = _between(vectors, vectors[recent], random)
        further = _cheapest(index, vectors, [*samples, newest])
        if further[2] >= RECALL_AIM:
            nprobe, rescored, recall = further
    return IndexFacts(
        nlist=index.nlist,
        nprobe=nprobe,
        rescored=rescored,
        recall_at_10=round(recall, 4),
        residual=_residual(index, vectors),
        imbalance=round(index.invlists.imbalance_factor(), 3),
    )


def _cheapest(index: Any, vectors: npt.NDArray[np.float16], samples: "list[_Sample]") -> tuple[int, int, float]:
    """(lists to probe, candidates to re-score, recall@10 of the hardest sample)."""
    best = (index.nlist, _RESCORED[-1], 0.0)
    cheapest = math.inf
    for nprobe in _probes(index.nlist):
        probed_ns = nprobe * (_LIST_PROBED_NS + len(vectors) / index.nlist * _ROW_SCANNED_NS)
        if probed_ns >= cheapest:
            break
        recalls = np.min([sample.recalls(index, vectors, nprobe) for sample in samples], axis=0)
        for rescored, recall in zip(_RESCORED, recalls.tolist(), strict=True):
            cost = probed_ns + rescored * _ROW_RESCORED_NS
            reached = recall >= RECALL_AIM
            if (reached and cost < cheapest) or (cheapest == math.inf and recall > best[2]):
                best = (nprobe, rescored, recall)
            if reached:
                cheapest = min(cheapest, cost)
                break
    return best


def load(path: Path, facts: IndexFacts, exact: ExactRows) -> IvfIndex:
    """The index in a file, whose lists stay in the mapped file."""
    return IvfIndex(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC), facts, exact)


def save(index: Any, path: Path) -> None:
    with path.open("wb") as file:
        # FAISS's own writer says nothing if the last bytes find no room on the disk.
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def _probes(nlist: int) -> list[int]:
    """Numbers of lists to try: two steps to each doubling, and all."""
    steps = {math.ceil(2 ** (step / 2)) for step in range(4, 2 * nlist.bit_length())}
    return sorted({nlist, *(probes for probes in steps if probes < nlist)})


@dataclass(frozen=True)
class _Sample:
    """``queries`` (q, dim); ``own`` (q,) the row that is no answer, or -1; ``tenth`` (q,) greatest score of others."""

    queries: Vector
    own: npt.NDArray[np.int64]
    tenth: npt.NDArray[np.float32]

    def recalls(self, index: Any, vectors: npt.NDArray[np.float16], nprobe: int) -> npt.NDArray[np.float64]:
        """For each of _RESCORED, the share of the ten best that are among so many candidates.

        A score equal to the tenth counts, as rows may be equal.
        """
        parameters = faiss.SearchParametersIVF(nprobe=nprobe)
        _, candidates = index.search(self.queries, _RESCORED[-1], params=parameters)
        found = np.zeros(len(_RESCORED))
        for query, rows, own, tenth in zip(self.queries, candidates, self.own, self.tenth, strict=True):
            is_best = vectors[rows].astype(np.float32) @ query >= tenth - TIE
            is_best &= (rows >= 0) & (rows != own)
            found += np.minimum(10, np.cumsum(is_best)[np.asarray(_RESCORED) - 1])
        return found / (10 * len(self.queries))


def _between(vectors: npt.NDArray[np.float16], among: npt.NDArray[np.float16], random: np.random.Generator) -> _Sample:
    queries = between(among, _QUERIES, random)
    scores, _ = ExactRows(vectors).index.search(queries, 10)
    return _Sample(queries, np.full(len(queries), -1), scores[:, -1])


def _others(vectors: npt.NDArray[np.float16], random: np.random.Generator) -> _Sample:
    """Rows that ask for others, as far from them as products are from each other."""
    own = _some(vectors, random)
    queries = vectors[own].astype(np.float32)
    scores, _ = ExactRows(vectors).index.search(queries, 11)
    return _Sample(queries, own, scores[:, -1])


def _some(vectors: npt.NDArray[np.float16], random: np.random.Generator) -> npt.NDArray[np.int64]:
    return np.sort(random.choice(len(vectors), min(_QUERIES, len(vectors)), replace=False))


def _residual(index: Any, vectors: npt.NDArray[np.float16]) -> float:
    """Mean squared error of the codes, as a share of the mean squared length, of evenly spaced rows."""
    rows = vectors[:: max(1, len(vectors) // _RESIDUAL_ROWS)].astype(np.float32)
    errors = rows - index.pq.decode(index.pq.compute_codes(rows))
    return round(float(np.square(errors).sum() / np.square(rows).sum()), 4)
