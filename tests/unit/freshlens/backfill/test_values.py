"""A Parquet row as the JSON object that ``freshlens publish`` would take."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from freshlens.backfill.values import line_of


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (True, True),
        (None, None),
        (1.5, 1.5),
        (float("nan"), None),
        (Decimal("12.50"), 12.5),
        (Decimal("12.00"), 12),
        (b"\x00\x01", {"base64": "AAE="}),
        ({"bytes": b"\x00\x01", "path": "a.jpg"}, {"base64": "AAE="}),
        ({"bytes": None, "path": "a.jpg"}, "a.jpg"),
        ({"uri": "https://shop.example/a.jpg"}, {"uri": "https://shop.example/a.jpg"}),
        (["a", b"\x00\x01"], ["a", {"base64": "AAE="}]),
        (date(2026, 3, 1), "2026-03-01"),
        (datetime(2026, 3, 1, 6, tzinfo=UTC), "2026-03-01T06:00:00+00:00"),
    ],
)
def test_values(value: Any, expected: Any) -> None:
    assert line_of({"x": value}) == {"x": expected}


def test_a_version_that_is_a_time_is_in_microseconds() -> None:
    east = datetime(2026, 3, 1, 7, 0, 0, 1, tzinfo=timezone(timedelta(hours=1)))
    naive = datetime(2026, 3, 1, 6, 0, 0, 1)  # noqa: DTZ001
    for each in (east, naive):
        assert line_of({"version": each}) == {"version": 1_772_344_800_000_001}
    assert line_of({"version": 7, "event_time": None}) == {"version": 7, "event_time": None}
