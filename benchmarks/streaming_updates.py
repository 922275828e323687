"""What do 200 events/s cost the searches, and how soon is a record seen?

One process as a node is: a thread applies the log, searches run beside it. The log is in memory, so a record is
readable the moment it is appended. Half of the events are new products, two fifths change only a price, one tenth
deletes. Quiet, streaming, and the raw FAISS calls alternate in the same run. Recall while streaming is that of every
fiftieth search, against an exact scan of the view it was answered from.

    python -m benchmarks.streaming_updates [--seconds 15 --events-per-s 200]
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.in_memory import MemoryLog
from benchmarks.measuring import arguments, ids_of, percentile_ms, searched
from benchmarks.prepared import Prepared, facts_of, prepared
from benchmarks.products import Products, products_of
from benchmarks.raw import raw_faiss
from benchmarks.report import save, spread
from benchmarks.vectors import Single, VectorSet, load
from index_nodes.replicas.replica import Replica
from index_nodes.rows.graph import ThreadBuilder
from index_nodes.views.view import IndexView

_SAMPLED = 97
"""One answer in so many is checked; a prime, so that every query has its turn."""
_POLL_S = 0.05


class Following(threading.Thread):
    """Applies what arrives, as the node's follower does, and notes when each offset became visible."""

    def __init__(self, replica: Replica) -> None:
        super().__init__(daemon=True)
        self._replica = replica
        self._stopping = threading.Event()
        self.visible_at: dict[tuple[int, int], float] = {}

    def run(self) -> None:
        before = dict(self._replica.view.offsets.applied)
        while not self._stopping.is_set():
            if self._replica.step(_POLL_S):
                now, after = time.perf_counter(), self._replica.view.offsets.applied
                for partition, offset in after.items():
                    for each in range(before[partition], offset):
                        self.visible_at[partition, each] = now
                before = dict(after)

    def stop(self) -> None:
        self._stopping.set()
        self.join()


class Feeding(threading.Thread):
    """Appends prepared records at a steady rate, and notes when each could be read."""

    def __init__(self, log: MemoryLog, records: list[tuple[int, bytes]], per_s: int) -> None:
        super().__init__(daemon=True)
        self._log, self._records, self._per_s = log, records, per_s
        self.readable_at: dict[tuple[int, int], float] = {}
        self.seconds = 0.0

    def run(self) -> None:
        began = time.perf_counter()
        for number, (partition, raw) in enumerate(self._records):
            time.sleep(max(0.0, began + number / self._per_s - time.perf_counter()))
            now = time.perf_counter()
            entry = self._log.append(partition, raw)
            self.readable_at[partition, entry.offset] = now
        self.seconds = time.perf_counter() - began


def events(products: Products, main: int, first_new: int, count: int) -> list[tuple[int, bytes]]:
    """New, price-only and delete, 5 : 4 : 1, at random among the products of the generation."""
    random = np.random.default_rng(21)
    victims = iter(random.permutation(main).tolist())
    made, new = [], first_new
    for kind in random.choice(3, count, p=(0.5, 0.4, 0.1)).tolist():
        if kind == 0 and new < len(products.vectors):
            made.append(products.added(new))
            new += 1
        elif kind < 2:
            made.append(products.priced(next(victims), round(float(random.uniform(1, 99)), 2), 5))
        else:
            made.append(products.deleted(next(victims), 9))
    return made


def searching(
    replica: Replica, queries: Single, is_over: Callable[[], bool]
) -> tuple[list[float], list[tuple[IndexView, Single, list[int]]]]:
    """Search after search until it is over: seconds of each, and some of them with their view and answer."""
    seconds, sampled = [], []
    number = 0
    while not is_over():
        query = queries[number % len(queries)]
        began = time.perf_counter()
        view = replica.view
        found = searched(view, query)
        seconds.append(time.perf_counter() - began)
        if number % _SAMPLED == 0:
            sampled.append((view, query, ids_of(found)))
        number += 1
    return seconds, sampled


def recall_sampled(sampled: list[tuple[IndexView, Single, list[int]]], at_most: int = 200) -> float:
    """Recall@10 of sampled answers against exact scans of the views they came from."""
    chosen = sampled[:: max(1, len(sampled) // at_most)]
    shares = [len(set(ids) & set(ids_of(searched(view, query, exact=True)))) for view, query, ids in chosen]
    return round(sum(shares) / (10 * len(shares)), 4)


def for_seconds(seconds: float) -> Callable[[], bool]:
    """True once so much time has gone."""
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() >= end


def measure(vectors: VectorSet, seconds: float, per_s: int) -> dict[str, Any]:
    """One set: quiet, streaming, quiet, on a generation with half of the extra rows behind it."""
    products = products_of(vectors)
    main, behind = len(vectors.rows), len(vectors.extra) // 2
    made = prepared(vectors.name, products, main)
    log = made.log()
    for number in range(main, main + behind):
        log.append(*products.added(number))
    replica = made.replica(log, ThreadBuilder())
    _wait_for_graphs(replica)
    searching(replica, vectors.queries, for_seconds(min(3.0, seconds)))
    records = events(products, main, main + behind, round(seconds * per_s))
    following, feeding = Following(replica), Feeding(log, records, per_s)
    quiet, quiet_sampled = searching(replica, vectors.queries, for_seconds(seconds))
    following.start()
    feeding.start()
    streaming, sampled = searching(replica, vectors.queries, lambda: not feeding.is_alive())
    time.sleep(0.5)
    following.stop()
    again, _ = searching(replica, vectors.queries, for_seconds(seconds / 2))
    waited = [following.visible_at[place] - at for place, at in feeding.readable_at.items()]
    replica.close()
    quiet_p99 = percentile_ms(quiet + again, 99)
    return {
        **facts_of(made.manifest),
        "delta_rows_before": behind,
        "events": len(records),
        "events_per_s": round(len(records) / feeding.seconds),
        "quiet": {"recall@10": recall_sampled(quiet_sampled), **spread(quiet + again)},
        "streaming": {"recall@10": recall_sampled(sampled), **spread(streaming)},
        "p99_streaming_to_quiet": round(percentile_ms(streaming, 99) / quiet_p99, 2),
        "readable_to_visible": spread(waited),
        "raw_faiss": _raw(made, vectors.queries, min(3.0, seconds)),
    }


def _raw(made: Prepared, queries: Single, seconds: float) -> dict[str, float] | None:
    """The main index alone, quiet."""
    raw = raw_faiss(made)
    if raw is None:
        return None
    taken: list[float] = []
    is_over = for_seconds(seconds)
    while not is_over():
        began = time.perf_counter()
        raw.search(queries[len(taken) % len(queries)])
        taken.append(time.perf_counter() - began)
    return spread(taken)


def _wait_for_graphs(replica: Replica, at_most_s: float = 60.0) -> None:
    """Let the graphs of the sealed blocks be built before anything is measured."""
    is_over = for_seconds(at_most_s)
    while any(segment.source == "tail" for segment in replica.view.delta.segments[:-1]) and not is_over():
        time.sleep(0.1)
        replica.step(0.0)


def main() -> None:
    """Measure both sets."""
    given = arguments(seconds=15.0, events_per_s=200)
    sets = [load(name, given.rows, given.extra) for name in given.sets.split(",")]
    figures = {each.name: measure(each, given.seconds, given.events_per_s) for each in sets}
    save("streaming_updates", "What do 200 events/s cost the searches, and how soon is a record seen?", figures)


if __name__ == "__main__":
    main()
