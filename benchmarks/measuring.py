"""How time, memory and recall are measured, the same way in every benchmark."""

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import faiss
import numpy as np

from benchmarks.products import TENANT, numbers_of
from benchmarks.report import spread
from benchmarks.vectors import EXTRA, ROWS, Numbers, Single, recall
from index_nodes.replicas.memory import give_back
from index_nodes.views.search import Found, search
from index_nodes.views.view import IndexView
from schemas.filters import Filter

K = 10
ROUNDS = 3
T = TypeVar("T")


def timed(
    call: Callable[[Single], T], queries: Sequence[Single] | Single, rounds: int = ROUNDS
) -> tuple[list[T], dict[str, float]]:
    """The answers, and the median over rounds of each quantile of the time of one call; one round warms up."""
    for query in queries[: max(20, len(queries) // 5)]:
        call(query)
    answers, spreads = [], []
    for _ in range(rounds):
        answers, seconds = [], []
        for query in queries:
            began = time.perf_counter()
            answers.append(call(query))
            seconds.append(time.perf_counter() - began)
        spreads.append({**spread(seconds), "mean_ms": round(statistics.fmean(seconds) * 1000, 4)})
    return answers, median_of(spreads)


def median_of(spreads: Sequence[dict[str, float]]) -> dict[str, float]:
    """Figure by figure."""
    figures = {name: round(statistics.median(each[name] for each in spreads), 4) for name in spreads[0]}
    return {**figures, "rounds": len(spreads)}


def searched(view: IndexView, query: Single, clause: Filter | None = None, *, exact: bool = False) -> Found:
    """One search of the benchmarks' tenant."""
    return search(view, tenant=TENANT, query=query, k=K, clause=clause, exact=exact)


def ids_of(found: Found) -> list[int]:
    """The numbers of the products found."""
    return numbers_of(hit.product_id for hit in found.hits)


def recall_of(view: IndexView, queries: Single, clause: Filter | None = None) -> float:
    """Recall@10 of the index against an exact scan of the same view."""
    hits = wanted = 0
    for query in queries:
        true = set(ids_of(searched(view, query, clause, exact=True)))
        hits += len(true & set(ids_of(searched(view, query, clause))))
        wanted += len(true)
    return round(hits / max(1, wanted), 4)


def recall_against(answers: Sequence[Found], truth: Numbers) -> float:
    """Recall@10 where product n is row n."""
    return recall([ids_of(answer) for answer in answers], truth)


def anonymous_bytes() -> int:
    """Anonymous memory of this process: what no file backs."""
    return memory_of("Anonymous")


def memory_of(field: str) -> int:
    """A line of smaps_rollup of this process (Rss, Anonymous, Pss …) in bytes."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def trim() -> None:
    """Give back to the system what was freed, so that what remains is what is used."""
    gc.collect()
    give_back()


def arguments(**more: Any) -> argparse.Namespace:
    """``--rows``, ``--extra``, ``--sets`` and more of the same kind, by name and default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the generation")
    parser.add_argument("--extra", type=int, default=EXTRA, help="rows behind it")
    parser.add_argument("--sets", default="clustered,drawn", help="which vectors, with commas between")
    parser.add_argument("--queries", type=int, default=500)
    for name, default in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    faiss.omp_set_num_threads(1)
    given = parser.parse_args()
    given.extra = min(given.extra, given.rows)
    return given


def rate(count: int, seconds: float) -> int:
    """Per second, for a report."""
    return round(count / max(1e-9, seconds))


def percentile_ms(seconds: Sequence[float], quantile: float) -> float:
    """A quantile (0 to 100) in milliseconds."""
    return round(float(np.percentile(np.asarray(seconds), quantile)) * 1000, 3)
