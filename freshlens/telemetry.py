"""The Prometheus binding of ``schemas.metrics``: every process of a machine reports into one ``/metrics``."""

import atexit
import fcntl
import os
import shutil
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from schemas.metrics import METRICS, Metric, MetricName

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_MEMORY = Path("/dev/shm")
_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


_FOLD_S = 0.25
"""What was reported is in ``/metrics`` after so long."""

_ENTRY_BYTES_MAX = 4 + 8 + 16
"""What the library's files hold for a value beside its key: a length, padding, and two doubles."""

_Labels = tuple[tuple[str, str], ...]


class PrometheusMetrics:
    """A Metrics that Prometheus can scrape.

    Reporting only notes what is reported: a search does so a dozen times, and each sample that the library takes costs
    microseconds. A thread folds the notes together, and gives the library one amount for many.

    With PROMETHEUS_MULTIPROC_DIR set (by ``freshlens up``) the processes of a machine share that folder, and any of
    them renders them all.
    """

    def __init__(self) -> None:
        if shared := os.environ.get(DIRECTORY_VARIABLE):
            _make(Path(shared))
        self._counters = {name: Counter(name, m.help, m.labels) for name, m in _of_kind("counter")}
        self._gauges = {
            name: Gauge(name, m.help, m.labels, multiprocess_mode="livemostrecent") for name, m in _of_kind("gauge")
        }
        self._histograms = {
            name: Histogram(name, m.help, m.labels, buckets=_BUCKETS_S) for name, m in _of_kind("histogram")
        }
        self._noted: deque[tuple[MetricName, _Labels, float]] = deque()
        self._folding = threading.Lock()
        threading.Thread(target=self._fold_for_ever, name="metrics", daemon=True).start()
        atexit.register(self.fold)

    def count(self, name: MetricName, amount: float = 1, **labels: str) -> None:
        self._noted.append((name, tuple(labels.items()), amount))

    def observe(self, name: MetricName, value: float, **labels: str) -> None:
        self._noted.append((name, tuple(labels.items()), value))

    def observe_each(self, name: MetricName, label: str, values: Mapping[str, float]) -> None:
        self._noted.extend([(name, ((label, key),), value) for key, value in values.items()])

    def gauge(self, name: MetricName, value: float, **labels: str) -> None:
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def fold(self) -> None:
        """Hand what was noted to the library."""
        with self._folding:
            values: dict[tuple[MetricName, _Labels], list[float]] = {}
            for _ in range(len(self._noted)):
                name, labels, value = self._noted.popleft()
                values.setdefault((name, labels), []).append(value)
            for (name, labels), each in values.items():
                if name in self._counters:
                    self._child(self._counters[name], labels).inc(sum(each))
                else:
                    _observe_all(self._child(self._histograms[name], labels), each)

    def render(self) -> bytes:
        """What ``/metrics`` answers, in Prometheus' text format."""
        self.fold()
        if not (shared := os.environ.get(DIRECTORY_VARIABLE)):
            return generate_latest()
        registry = CollectorRegistry()
        with _held(Path(shared), fcntl.LOCK_SH):
            MultiProcessCollector(registry, shared)  # type: ignore[no-untyped-call]
            return generate_latest(registry)

    def _fold_for_ever(self) -> None:
        while True:
            time.sleep(_FOLD_S)
            self.fold()

    @staticmethod
    def _child(metric: Any, labels: _Labels) -> Any:
        return metric.labels(**dict(labels)) if labels else metric


def _observe_all(histogram: Any, values: list[float]) -> None:
    """As ``observe`` for each value; the library itself takes them one by one only."""
    histogram._raise_if_not_observable()
    histogram._sum.inc(sum(values))
    places, times = np.unique(np.searchsorted(histogram._upper_bounds, values), return_counts=True)
    for place, each in zip(places.tolist(), times.tolist(), strict=True):
        histogram._buckets[place].inc(each)


def serve_metrics(port: int) -> None:
    """Serve this process's own metrics on a port of its own; for processes that have no HTTP server."""
    prometheus_client.start_http_server(port)


def shared_folder(data: Path) -> Path:
    """A new folder for what the processes of a data directory report, in memory where the system has such a place.

    The library maps its files sparse: on a disk that is full the first write to a page of one is the end of the process
    (SIGBUS).
    """
    name = f"freshlens-{os.getuid()}-{blake2b(bytes(data.resolve()), digest_size=8).hexdigest()}"
    folder = _MEMORY / name if os.access(_MEMORY, os.W_OK) else data / "metrics"
    shutil.rmtree(folder, ignore_errors=True)  # of an `up` that was killed
    folder.mkdir(mode=0o700)
    return folder


def forget_process(directory: Path, pid: int) -> None:
    """Drop the live gauges of a process that ended, and its files; what it counted stays counted.

    Only one process may forget others. It is not held up.

    Raises:
        OSError: no room, or somebody renders just now: all still counts, and may be forgotten another time.
    """
    with _held(directory, fcntl.LOCK_EX | fcntl.LOCK_NB):
        mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]
        for kind in ("counter", "histogram"):
            if (ended := directory / f"{kind}_{pid}.db").exists():
                _add_up(directory / f"{kind}_ended.db", ended)
                ended.unlink()


def _add_up(total: Path, ended: Path) -> None:
    sums: dict[str, float] = {}
    for path in (total, ended):
        for key, value in _values_of(path):
            sums[key] = sums.get(key, 0.0) + value
    temporary = total.with_suffix(".tmp")
    # Written before it is mapped: where there is no room that is an error, and not the end of this process (SIGBUS).
    temporary.write_bytes(bytes(8 + sum(len(key.encode()) + _ENTRY_BYTES_MAX for key in sums)))
    values = MmapedDict(temporary)  # type: ignore[no-untyped-call]
    for key, value in sums.items():
        values.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    values.close()  # type: ignore[no-untyped-call]
    temporary.replace(total)


def _values_of(path: Path) -> list[tuple[str, float]]:
    try:
        read = MmapedDict.read_all_values_from_file(path)  # type: ignore[no-untyped-call]
        return [(key, value) for key, value, _, _ in read]
    except (FileNotFoundError, struct.error):  # not there yet, or its process was killed while it made it
        return []


@contextmanager
def _held(folder: Path, how: int) -> Iterator[None]:
    """While the folder is rendered its files stay as they are, so that nothing is missing or counted twice."""
    _make(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # to close it is not enough where a fork holds it, too
        os.close(descriptor)


def _make(folder: Path) -> None:
    """Make the folder if it is not there: systemd removes what a user has in memory when that user logs out."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _of_kind(kind: str) -> list[tuple[MetricName, Metric]]:
    return [(name, metric) for name, metric in METRICS.items() if metric.kind == kind]
