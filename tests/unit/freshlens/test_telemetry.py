"""What Prometheus is told: sums and buckets of all that was reported, however it was reported."""

from collections.abc import Iterator
from pathlib import Path

import prometheus_client
import pytest

from freshlens import telemetry
from freshlens.telemetry import DIRECTORY_VARIABLE, PrometheusMetrics


@pytest.fixture(scope="module")
def metrics() -> Iterator[PrometheusMetrics]:
    """The library has one registry for a process, so there is one of these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(DIRECTORY_VARIABLE, raising=False)
        yield PrometheusMetrics()


def told(metrics: PrometheusMetrics, name: str, **labels: str) -> float | None:
    metrics.fold()
    return prometheus_client.REGISTRY.get_sample_value(name, labels)


def test_counts_add_up(metrics: PrometheusMetrics) -> None:
    for amount in (1, 2.5):
        metrics.count("freshlens_degraded_total", amount, step="probes")
    assert told(metrics, "freshlens_degraded_total", step="probes") == 3.5
    assert told(metrics, "freshlens_degraded_total", step="rerank") is None


def test_one_by_one_and_together_are_the_same_to_a_histogram(metrics: PrometheusMetrics) -> None:
    metrics.observe("freshlens_search_stage_seconds", 0.0004, stage="search")
    metrics.observe_each("freshlens_search_stage_seconds", "stage", {"search": 0.004, "rank": 100.0})
    name = "freshlens_search_stage_seconds"
    assert told(metrics, f"{name}_count", stage="search") == 2
    assert told(metrics, f"{name}_sum", stage="search") == pytest.approx(0.0044)
    assert told(metrics, f"{name}_bucket", stage="search", le="0.0005") == 1
    assert told(metrics, f"{name}_bucket", stage="search", le="0.005") == 2
    assert told(metrics, f"{name}_bucket", stage="rank", le="60.0") == 0
    assert told(metrics, f"{name}_bucket", stage="rank", le="+Inf") == 1


def test_a_gauge_is_what_was_said_last_and_all_is_rendered(metrics: PrometheusMetrics) -> None:
    metrics.gauge("freshlens_index_rows", 3.0, part="tail")
    metrics.gauge("freshlens_index_rows", 2.0, part="tail")
    metrics.count("freshlens_no_match_total")
    text = metrics.render().decode()
    assert 'freshlens_index_rows{part="tail"} 2.0' in text
    assert "freshlens_no_match_total 1.0" in text


def test_what_processes_share_is_new_for_every_run_and_not_on_the_disk_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(telemetry, "_MEMORY", memory)
    one, other = telemetry.shared_folder(tmp_path / "one"), telemetry.shared_folder(tmp_path / "other")
    assert one != other
    assert {one.parent, other.parent} == {memory}
    assert one.stat().st_mode & 0o777 == 0o700
    (one / "counter_1.db").touch()
    assert telemetry.shared_folder(tmp_path / "one") == one
    assert list(one.iterdir()) == [], "of a run that was killed nothing is counted again"
