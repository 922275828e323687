"""What do codes save, as more and more new rows lie behind the generation?

Two replicas of one log over 40,000 products of 384 dimensions (clustered), one with the generation's codebook and one
without, where every new row is scanned by its full vector (docs/adr/0016). The same searches of the whole, by turns;
recall is against an exact search of the same view.

    python -m benchmarks.codes [--rows 40000] [--rounds 5]
"""

import argparse
import statistics
import time
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.in_memory import MemoryLog
from benchmarks.measuring import recall_of, searched
from benchmarks.own_vectors import DIM, Rows, clustered, make_centres
from benchmarks.prepared import prepared
from benchmarks.products import Products, made_of
from benchmarks.report import save
from index_nodes.generations.generation import Generation
from index_nodes.replicas.replica import Replica
from index_nodes.views.view import IndexView

NEW = (0, 1_000, 2_000, 4_000, 8_000, 16_000)
QUERIES, SCORED = 300, 100
_AT_ONCE = 50


def main() -> None:
    """Measure, and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    centres = make_centres()
    vectors = clustered(given.rows + NEW[-1], 2, centres)
    products, queries = made_of(vectors.astype(np.float16), DIM, given.rows), clustered(QUERIES, 3, centres)
    generation = prepared("own", products, given.rows)
    log = generation.log()
    coded = generation.replica(log)
    with mock.patch.object(Generation, "codebook", None):
        scanned = generation.replica(log)
    figures: list[dict[str, Any]] = []
    for new in NEW:
        replicas = {"coded": coded, "scanned": scanned}
        _apply(log, products, given.rows, new, list(replicas.values()))
        figures.append({"new_rows": new, **_measured(replicas, queries, given.rounds)})
    save("codes", str(__doc__).splitlines()[0], {"rows": given.rows, "dim": DIM, "searches": figures})


def _apply(log: MemoryLog, products: Products, main_rows: int, new: int, replicas: list[Replica]) -> None:
    known = len(replicas[0].view.delta.slots)
    for number in range(known, new):
        log.append(*products.added(main_rows + number))
        if number % _AT_ONCE == 0:
            for replica in replicas:
                replica.step(0.0)
    for replica in replicas:
        while len(replica.view.delta.slots) < new:
            replica.step(0.0)


def _measured(replicas: dict[str, Replica], queries: Rows, rounds: int) -> dict[str, Any]:
    """Microseconds of a search, the median over rounds, and recall@10."""
    taken: dict[str, list[float]] = {name: [] for name in replicas}
    for turn in range(rounds + 1):
        for name, replica in replicas.items():
            seconds = _seconds(replica.view, queries)
            if turn:  # the first round warms up
                taken[name].append(seconds / len(queries) * 1e6)
    return {
        name: {"us": round(statistics.median(taken[name])), "recall@10": recall_of(replica.view, queries[:SCORED])}
        for name, replica in replicas.items()
    }


def _seconds(view: IndexView, queries: Rows) -> float:
    began = time.perf_counter()
    for query in queries:
        searched(view, query)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
