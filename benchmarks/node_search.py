"""What does a search on a node cost beside the raw calls that it consists of, and what do filters add?

200,000 products in the generation and 10,000 behind it: two graphs and an open tail. Ours is the node's ``search``,
from query vector to finished hits. Raw is the sum of what the libraries do in it on the same rows, with the same
settings: FAISS on the lists with re-scoring, FAISS over the tail row by row, hnswlib on each graph; nothing merged,
no product looked up. ``raw_numpy`` re-scores the candidates in NumPy. Rounds of all are interleaved.

Filters: at random, the nearest to the queries (correlated) and the furthest from them (anti-correlated).

    python -m benchmarks.node_search [--sets clustered,drawn]
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.measuring import K, arguments, ids_of, searched
from benchmarks.prepared import Prepared, facts_of, prepared
from benchmarks.products import ANCHORS, TENANT, Products, products_of
from benchmarks.report import save
from benchmarks.vectors import Single, load
from index_nodes.generations.generation import Generation
from index_nodes.rows.exact import TIE
from index_nodes.rows.graph import Graph, InlineBuilder
from index_nodes.rows.passing import faiss
from index_nodes.views.view import IndexView
from schemas.filters import Filter, Range

DELTA_ROWS = 10_000
ROUNDS = 5
SHARES = (0.5, 0.1, 0.01, 0.001)
_FILTER_QUERIES = 25


def main() -> None:
    """Measure each set."""
    given = arguments()
    figures = {name: measure(name, given.rows, given.queries) for name in given.sets.split(",")}
    save("node_search", "A search on a node beside the raw calls it consists of; filters", figures)


def measure(name: str, rows: int, queries: int) -> dict[str, Any]:
    """One set of vectors."""
    vectors = load(name, rows)
    products = products_of(vectors)
    made = prepared(name, products, rows)
    view = opened(made, products, rows)
    asked = np.ascontiguousarray(vectors.queries[:queries])
    return {
        **facts_of(made.manifest),
        "delta": [f"{part.source} {len(part)}" for part in view.delta.segments],
        "unfiltered": unfiltered(view, asked),
        "view_us": new_view_us(view),
        "filters": filters(view, products, vectors.queries),
    }


def opened(made: Prepared, products: Products, rows: int) -> IndexView:
    """The view of a node with its delta."""
    log = made.log()
    for number in range(rows, rows + DELTA_ROWS):
        log.append(*products.added(number))
    replica = made.replica(log, InlineBuilder())
    replica.step(0)
    return replica.view


def unfiltered(view: IndexView, queries: Single) -> dict[str, Any]:
    """Times of ours and raw, round by round in turn, and the recall of each."""
    calls: dict[str, Callable[[Single], list[float]]] = {
        "ours": partial(ours, view),
        "raw": partial(raw, view, refined(view)),
        "raw_numpy": partial(raw, view, rescored_by_numpy(view)),
    }
    tenth = [searched(view, query, exact=True).hits[-1].similarity for query in queries]
    recalls = {name: _recall(call, queries, tenth) for name, call in calls.items()}
    medians: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for (
            name,
            call,
        ) in calls.items():  # each over all queries, so that none finds what another brought into the caches
            for query in queries:
                began = time.perf_counter()
                call(query)
                seconds[name].append(time.perf_counter() - began)
        for name, taken in seconds.items():
            medians[name].append(statistics.median(taken) * 1e6)
    figures: dict[str, Any] = {
        name: {"median_us": round(statistics.median(medians[name]), 1), "recall@10": recalls[name]} for name in calls
    }
    for name in ("raw", "raw_numpy"):
        ratios = [ours_us / raw_us for ours_us, raw_us in zip(medians["ours"], medians[name], strict=True)]
        figures[f"ours_to_{name}"] = round(statistics.median(ratios), 3)
    return figures


def ours(view: IndexView, query: Single) -> list[float]:
    """The node's search; its similarities."""
    return [hit.similarity for hit in searched(view, query).hits]


def raw(view: IndexView, main: Callable[[Single], Single], query: Single) -> list[float]:
    """The calls of the libraries, one after the other; the ten best similarities among all."""
    scores = [main(query)]
    for segment in view.delta.segments:
        if isinstance(segment, Graph):
            _, distances = segment.index.knn_query(query, k=K, num_threads=1)
            scores.append(1.0 - distances[0])
        else:
            scores.append(segment.exact.index.search(query[None], K)[0][0])
    best: list[float] = np.sort(np.concatenate(scores))[-K:].tolist()
    return best


def refined(view: IndexView) -> Callable[[Single], Single]:
    """FAISS re-scores its candidates itself."""
    index, facts = _index(view.generation)
    parameters = faiss.IndexRefineSearchParameters(
        k_factor=(facts.rescored + 0.5) / K, base_index_params=faiss.SearchParametersIVF(nprobe=facts.nprobe)
    )
    both = faiss.IndexRefine(index, view.generation.exact.index)
    return lambda query: both.search(query[None], K, params=parameters)[0][0]


def rescored_by_numpy(view: IndexView) -> Callable[[Single], Single]:
    """FAISS finds candidates, NumPy compares their vectors."""
    index, facts = _index(view.generation)
    parameters = faiss.SearchParametersIVF(nprobe=facts.nprobe)
    vectors = view.generation.vectors

    def search(query: Single) -> Single:
        rows = index.search(query[None], facts.rescored, params=parameters)[1][0]
        scores: Single = vectors[rows[rows >= 0]].astype(np.float32) @ query
        return scores

    return search


def new_view_us(view: IndexView) -> dict[str, float]:
    """What the first search of a new view pays for knowing what passes, with and without a filter."""
    figures = {}
    for name, clause in (("unfiltered", None), ("filtered", Range("lot", lt=500))):
        taken = []
        for _ in range(100):
            fresh = dataclasses.replace(
                view, _selections={}, overlay=dataclasses.replace(view.overlay), delta=dataclasses.replace(view.delta)
            )
            began = time.perf_counter()
            fresh.select(TENANT, clause)
            taken.append(time.perf_counter() - began)
        figures[name] = round(statistics.median(taken) * 1e6, 1)
    return figures


def filters(view: IndexView, products: Products, queries: Single) -> list[dict[str, Any]]:
    """Recall and time by share and kind; the time of the same queries without a filter beside it."""
    found = []
    for kind, share, cases in _cases(products, queries):
        hits: list[float] = []
        times: list[float] = []
        plain: list[float] = []
        counts: list[int] = []
        for query, clause in cases:
            truth = set(ids_of(searched(view, query, clause, exact=True)))
            for times_of, asked in ((plain, None), (times, clause)):
                began = time.perf_counter()
                answer = searched(view, query, asked)
                times_of.append(time.perf_counter() - began)
            hits.append(len(truth & set(ids_of(answer))) / max(1, len(truth)))
            counts.append(answer.candidates)
        found.append(
            {
                "kind": kind,
                "share": share,
                "products": round(statistics.fmean(counts)),
                "recall@10": round(statistics.fmean(hits), 4),
                "median_us": round(statistics.median(times) * 1e6),
                "unfiltered_us": round(statistics.median(plain) * 1e6),
            }
        )
    return found


def _cases(products: Products, queries: Single) -> Iterator[tuple[str, float, list[tuple[Single, Filter]]]]:
    for share in SHARES:
        by_lot = Range("lot", lt=round(1000 * share))
        yield "random", share, [(query, by_lot) for query in queries[: ANCHORS * _FILTER_QUERIES]]
        nearest: list[tuple[Single, Filter]] = []
        furthest: list[tuple[Single, Filter]] = []
        for anchor in range(ANCHORS):
            order = np.argsort(-(queries @ products.anchors[anchor]))[:_FILTER_QUERIES]
            nearest += [(query, Range(f"near_{anchor}", lt=share)) for query in queries[order]]
            furthest += [(query, Range(f"near_{anchor}", gte=1 - share)) for query in queries[order]]
        yield "correlated", share, nearest
        yield "anti-correlated", share, furthest


def _index(generation: Generation) -> tuple[Any, Any]:
    assert generation.index is not None, "so few rows have no lists"
    return generation.index.index, generation.index.facts


def _recall(call: Callable[[Single], list[float]], queries: Single, tenth: list[float]) -> float:
    """Share of the ten best similarities; one equal to the tenth counts."""
    found = [sum(score >= least - TIE for score in call(query)) for query, least in zip(queries, tenth, strict=True)]
    return round(sum(min(K, each) for each in found) / (K * len(queries)), 4)


if __name__ == "__main__":
    main()
