"""The Prometheus binding of ``schemas.metrics``: every process of a machine reports into one ``/metrics``."""

import os
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from schemas.metrics import METRICS, Metric, MetricName

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class PrometheusMetrics:
    """A Metrics that Prometheus can scrape.

    With PROMETHEUS_MULTIPROC_DIR set (by ``freshlens up``) the processes of a machine share that folder, and any of
    them renders them all.
    """

    def __init__(self) -> None:
        self._counters = {name: Counter(name, m.help, m.labels) for name, m in _of_kind("counter")}
        self._gauges = {
            name: Gauge(name, m.help, m.labels, multiprocess_mode="livemostrecent") for name, m in _of_kind("gauge")
        }
        self._histograms = {
            name: Histogram(name, m.help, m.labels, buckets=_BUCKETS_S) for name, m in _of_kind("histogram")
        }

    def count(self, name: MetricName, amount: float = 1, **labels: str) -> None:
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def observe(self, name: MetricName, value: float, **labels: str) -> None:
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def gauge(self, name: MetricName, value: float, **labels: str) -> None:
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)


def render_metrics() -> bytes:
    """What ``/metrics`` answers, in Prometheus' text format."""
    if DIRECTORY_VARIABLE not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def serve_metrics(port: int) -> None:
    """Serve this process's own metrics on a port of its own; for processes that have no HTTP server."""
    prometheus_client.start_http_server(port)


def forget_process(directory: Path, pid: int) -> None:
    """Drop the live gauges of a process that ended."""
    mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]


def _of_kind(kind: str) -> list[tuple[MetricName, Metric]]:
    return [(name, metric) for name, metric in METRICS.items() if metric.kind == kind]
