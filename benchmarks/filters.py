"""What do filters cost, and does recall hold: by the share that passes, and by how it goes with the query?

Filters that have nothing to do with the query, filters on what lies around it, and filters on what lies far from it,
each over 50, 10, 1 and 0.1 % of the products; on the generation alone, and with a full delta behind it. Truth is
exact search over what passes. Raw: FAISS with an IDSelectorBitmap and the node's own number of probes for no filter.

    python -m benchmarks.filters
"""

import time
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from benchmarks.measuring import K, arguments, ids_of, searched, timed
from benchmarks.prepared import Prepared, facts_of, prepared
from benchmarks.products import ANCHORS, TENANT, Products, products_of
from benchmarks.raw import raw_faiss
from benchmarks.report import save
from benchmarks.vectors import Single, VectorSet, load
from index_nodes.rows.arrays import Mask
from index_nodes.rows.graph import InlineBuilder
from index_nodes.views.view import IndexView
from schemas.filters import Filter, Range

_SHARES = (0.5, 0.1, 0.01, 0.001)
_PER_ANCHOR = 15


@dataclass(frozen=True)
class Asked:
    """Queries that share a filter. ``mask`` (n,) bool over product numbers: who passes it."""

    clause: Filter | None
    mask: Mask
    queries: Single


def asked(products: Products, queries: Single, kind: str, share: float) -> list[Asked]:
    """The filters of one kind and share, with their queries."""
    if kind == "unrelated":
        limit = round(share * 1000)
        return [Asked(Range("lot", lt=limit), products.lots < limit, queries[: ANCHORS * _PER_ANCHOR])]
    made = []
    for anchor in range(ANCHORS):
        order = np.argsort(-(queries @ products.anchors[anchor]))
        chosen = order[:_PER_ANCHOR] if kind == "around the query" else order[-_PER_ANCHOR:]
        mask = np.round(products.near[anchor].astype(np.float64), 5) < share
        made.append(Asked(Range(f"near_{anchor}", lt=share), mask, queries[chosen]))
    return made


def plan_of(view: IndexView, clause: Filter | None) -> dict[str, int]:
    """How many rows pass in each part, which is what the plan is chosen by, before the search."""
    passing: dict[str, int] = {}
    for part, rows in view.select(TENANT, clause).parts:
        passing[part.source] = passing.get(part.source, 0) + rows.count
    return passing


def answered(view: IndexView, vectors: Single, groups: list[Asked]) -> dict[str, Any]:
    """Recall@10 and time over all queries of the groups; ``first_ms``: with the bitmaps still to be made."""
    hits = wanted = short = 0
    firsts, times = [], []
    for group in groups:
        began = time.perf_counter()
        searched(view, group.queries[0], group.clause)
        firsts.append(time.perf_counter() - began)
        found, spreads = timed(lambda query, clause=group.clause: searched(view, query, clause), group.queries)  # type: ignore[misc]
        times.append(spreads)
        numbers = np.flatnonzero(group.mask[: len(vectors)])
        k = min(K, len(numbers))
        for query, answer in zip(group.queries, found, strict=True):
            true = numbers[np.argpartition(-(vectors[numbers] @ query), k - 1)[:k]] if k else numbers
            ids = ids_of(answer)
            hits, wanted, short = hits + len(set(ids) & set(true.tolist())), wanted + k, short + (len(ids) < k)
    return {
        "recall@10": round(hits / max(1, wanted), 4),
        "short_answers": short,
        "first_ms": round(float(np.median(firsts)) * 1000, 3),
        **{name: round(float(np.median([each[name] for each in times])), 4) for name in ("p50_ms", "mean_ms")},
        "p99_ms": max(each["p99_ms"] for each in times),
        "passing_rows": plan_of(view, groups[0].clause),
    }


def table(view: IndexView, vectors: Single, products: Products, queries: Single) -> list[dict[str, Any]]:
    """Every kind and share, and no filter first."""
    everything = Asked(None, np.ones(len(products.vectors), np.bool_), queries[: ANCHORS * _PER_ANCHOR])
    rows: list[dict[str, Any]] = [{"kind": "none", "share": 1.0, **answered(view, vectors, [everything])}]
    for kind in ("unrelated", "around the query", "far from the query"):
        for share in _SHARES:
            row = {"kind": kind, "share": share, **answered(view, vectors, asked(products, queries, kind, share))}
            rows.append({**row, "cost": round(row["mean_ms"] / rows[0]["mean_ms"], 2)})
    return rows


def raw_table(made: Prepared, products: Products, vectors: Single, queries: Single) -> list[dict[str, Any]]:
    """FAISS alone under the unrelated filters, with re-scoring."""
    raw, generation = raw_faiss(made), made.generation()
    if raw is None:
        return []
    numbers = np.array([int(generation.keys.raw(slot).rpartition(b"/p")[2]) for slot in range(len(generation))])
    rows = []
    for share in (1.0, *_SHARES):
        groups = asked(products, queries, "unrelated", share)
        selector = faiss.IDSelectorBitmap(np.packbits(groups[0].mask[numbers], bitorder="little"))
        found, times = timed(lambda query, using=selector: raw.search(query, using), groups[0].queries)  # type: ignore[misc]
        passing = np.flatnonzero(groups[0].mask[: len(vectors)])
        k, hits = min(K, len(passing)), 0
        for query, local in zip(groups[0].queries, found, strict=True):
            true = passing[np.argpartition(-(vectors[passing] @ query), k - 1)[:k]]
            hits += len(set(numbers[local].tolist()) & set(true.tolist()))
        recall = round(hits / (k * len(groups[0].queries)), 4)
        rows.append({"share": share, "recall@10": recall, "mean_ms": times["mean_ms"], "p99_ms": times["p99_ms"]})
    return rows


def measure(vectors: VectorSet) -> dict[str, Any]:
    """One set, without and with a full delta."""
    products = products_of(vectors)
    made = prepared(vectors.name, products, len(vectors.rows))
    full = np.ascontiguousarray(vectors.all, dtype=np.float32)
    log = made.log()
    alone = made.replica(log)
    main_only = table(alone.view, full[: len(vectors.rows)], products, vectors.queries)
    raw = raw_table(made, products, full[: len(vectors.rows)], vectors.queries)
    alone.close()
    for number in range(len(vectors.rows), len(full)):
        log.append(*products.added(number))
    behind = made.replica(log, InlineBuilder())
    behind.step(0.0)
    with_delta = table(behind.view, full, products, vectors.queries)
    behind.close()
    return {**facts_of(made.manifest), "main_only": main_only, "full_delta": with_delta, "raw_faiss": raw}


def main() -> None:
    """Measure both sets."""
    given = arguments()
    sets = [load(name, given.rows, given.extra) for name in given.sets.split(",")]
    figures = {each.name: measure(each) for each in sets}
    save("filters", "What do filters cost, and does recall hold?", figures)


if __name__ == "__main__":
    main()
