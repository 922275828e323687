"""What Prometheus is told: sums and buckets of all that was reported, however it was reported."""

import fcntl
import os
import shutil
import subprocess
import sys
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


REPORTS = """
from freshlens.telemetry import PrometheusMetrics
metrics = PrometheusMetrics()
metrics.count("freshlens_degraded_total", 2.5, step="probes")
metrics.observe("freshlens_search_stage_seconds", 0.25, stage="search")
metrics.gauge("freshlens_index_rows", 3.0, part="tail")
"""


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, int]:
    """A folder that was not there when a process began to report into it, and that process."""
    folder = tmp_path / "memory" / "shared"
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(folder))
    with subprocess.Popen([sys.executable, "-c", REPORTS], env=dict(os.environ)) as process:
        pass
    assert process.returncode == 0
    return folder, process.pid


def lines(metrics: PrometheusMetrics) -> set[str]:
    return {line for line in metrics.render().decode().splitlines() if not line.startswith("#")}


def test_a_process_starts_and_is_rendered_although_the_folder_was_removed(
    metrics: PrometheusMetrics, ended: tuple[Path, int]
) -> None:
    assert 'freshlens_degraded_total{step="probes"} 2.5' in lines(metrics)
    shutil.rmtree(ended[0])
    assert lines(metrics) == set()


def test_a_hundred_forgotten_processes_leave_what_they_counted_in_two_files(
    metrics: PrometheusMetrics, ended: tuple[Path, int]
) -> None:
    folder, pid = ended
    others = range(10_000_000, 10_000_099)
    for path in list(folder.iterdir()):
        for other in others:
            shutil.copy(path, path.with_name(path.name.replace(str(pid), str(other))))
    before = lines(metrics)
    assert 'freshlens_degraded_total{step="probes"} 250.0' in before
    assert 'freshlens_search_stage_seconds_bucket{le="0.25",stage="search"} 100.0' in before
    size = sum(path.stat().st_size for path in folder.glob(f"*_{pid}.db"))
    for each in (pid, *others):
        telemetry.forget_process(folder, each)
    assert lines(metrics) == {line for line in before if not line.startswith("freshlens_index_rows")}
    assert {path.name for path in folder.iterdir()} == {"counter_ended.db", "histogram_ended.db"}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= size


def test_nothing_is_forgotten_in_the_middle_of_rendering(metrics: PrometheusMetrics, ended: tuple[Path, int]) -> None:
    folder, pid = ended
    before = lines(metrics)
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    with pytest.raises(BlockingIOError):
        telemetry.forget_process(folder, pid)
    assert lines(metrics) == before
    os.close(descriptor)
    telemetry.forget_process(folder, pid)
    assert len(list(folder.iterdir())) == 2


def test_a_process_that_was_killed_while_it_made_its_file_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "counter_7.db").touch()
    telemetry.forget_process(tmp_path, 7)
    assert not (tmp_path / "counter_7.db").exists()
