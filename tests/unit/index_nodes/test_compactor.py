"""When to compact: a pure decision."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from index_nodes.compactor import Growth, growth_of, why_compact
from index_nodes.settings import CompactorSettings

SETTINGS = CompactorSettings.from_env({"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092", "FRESHLENS_SPACE": "s:8"})
NOON = datetime(2026, 11, 20, 12, tzinfo=timezone(timedelta(hours=1)))
LITTLE = Growth(10, 1000)


@pytest.mark.parametrize(
    ("growth", "last_at", "reason"),
    [
        (Growth(0, 0), NOON - timedelta(days=9), None),
        (LITTLE, NOON - timedelta(hours=1), None),
        (LITTLE, NOON - timedelta(hours=10), "daily at 03:00"),
        (LITTLE, NOON - timedelta(hours=8), None),
        (Growth(50_000, 0), NOON, "50000 records"),
        (Growth(1, 1 << 30), NOON, "bytes of log"),
    ],
)
def test_reasons(growth: Growth, last_at: datetime, reason: str | None) -> None:
    found = why_compact(SETTINGS, growth, last_at, NOON)
    assert found is None if reason is None else reason in str(found)


def test_without_a_schedule_a_little_log_may_wait_for_ever() -> None:
    assert why_compact(replace(SETTINGS, at=None), LITTLE, NOON - timedelta(days=99), NOON) is None


def test_before_the_time_of_day_yesterday_s_counts() -> None:
    at_two = NOON.replace(hour=2)
    assert why_compact(SETTINGS, LITTLE, at_two - timedelta(hours=24), at_two) is not None
    assert why_compact(SETTINGS, LITTLE, at_two - timedelta(hours=22), at_two) is None


def test_growth_counts_the_partitions_of_the_shard_only() -> None:
    assert growth_of({"0": 5, "2": 10}, {0: 8, 1: 1000, 2: 10}, 100.0) == Growth(3, 300)
