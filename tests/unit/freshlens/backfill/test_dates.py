"""Versions of a dump: what is refused, and what a row without one gets."""

import pytest

from freshlens.backfill.dates import DumpDate, parse_as_of
from schemas.errors import SettingsError, VersionMissing, VersionOutOfRange
from schemas.versions import ResolvedVersion, VersionKind
from topics.declarations import TOMBSTONE_MS

HORIZON_US = TOMBSTONE_MS * 1000
NOW_US = 1_795_200_000_000_000
DAY_US = 86_400_000_000
MICROSECONDS, SEQUENCE = VersionKind.MICROSECONDS, VersionKind.SEQUENCE


def test_a_row_without_version_gets_the_dumps_and_the_later_row_wins() -> None:
    date = DumpDate(MICROSECONDS, NOW_US - DAY_US)
    assert date.version_of(None, 7, NOW_US) == ResolvedVersion(NOW_US - DAY_US, 7)
    assert date.version_of(None, 7, NOW_US) < date.version_of(None, 8, NOW_US)
    assert DumpDate(SEQUENCE, 12).version_of(None, 7, NOW_US) == ResolvedVersion(12, 7)


def test_a_row_of_its_own_version_keeps_it() -> None:
    assert DumpDate(MICROSECONDS, NOW_US).version_of(NOW_US - 5, 7, NOW_US) == ResolvedVersion(NOW_US - 5, 0)
    assert DumpDate(SEQUENCE).version_of(3, 7, NOW_US) == ResolvedVersion(3, 0)


def test_neither_is_refused() -> None:
    with pytest.raises(VersionMissing, match="--as-of"):
        DumpDate(MICROSECONDS).version_of(None, 7, NOW_US)


def test_a_version_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(VersionOutOfRange):
        DumpDate(MICROSECONDS, NOW_US).version_of(1_795_200_000, 7, NOW_US)
    with pytest.raises(VersionOutOfRange):
        DumpDate(SEQUENCE).version_of(2**62, 7, NOW_US)


def test_what_deletes_may_have_been_forgotten_of_needs_the_dumps_date() -> None:
    old = NOW_US - HORIZON_US - 1
    with pytest.raises(VersionOutOfRange, match="--as-of"):
        DumpDate(MICROSECONDS).version_of(old, 7, NOW_US)
    assert DumpDate(MICROSECONDS, NOW_US - DAY_US).version_of(old, 7, NOW_US).version == old
    assert DumpDate(MICROSECONDS, forgets=False).version_of(old, 7, NOW_US).version == old
    assert DumpDate(MICROSECONDS).version_of(old + 1, 7, NOW_US).version == old + 1
    assert DumpDate(SEQUENCE).version_of(1, 7, NOW_US).version == 1


def test_a_dump_older_than_deletes_are_remembered_is_refused() -> None:
    with pytest.raises(SettingsError, match="46"):
        DumpDate(MICROSECONDS, NOW_US - HORIZON_US - 1).check(NOW_US)
    DumpDate(MICROSECONDS, NOW_US - HORIZON_US).check(NOW_US)
    DumpDate(MICROSECONDS, NOW_US - HORIZON_US - 1, forgets=False).check(NOW_US)
    DumpDate(SEQUENCE, 1).check(NOW_US)
    with pytest.raises(SettingsError, match="remembered for 16"):
        DumpDate(MICROSECONDS, NOW_US - 17 * DAY_US, horizon_us=16 * DAY_US).check(NOW_US)
    DumpDate(MICROSECONDS, NOW_US - 17 * DAY_US).check(NOW_US)
    with pytest.raises(SettingsError, match="future"):
        DumpDate(MICROSECONDS, NOW_US + 3_600_000_000).check(NOW_US)


def test_as_of_is_a_time_or_a_number_of_the_tenants_kind() -> None:
    assert parse_as_of("2026-03-01T06:00+01:00", MICROSECONDS) == 1_772_341_200_000_000
    assert parse_as_of("2026-03-01T05:00Z", MICROSECONDS) == 1_772_341_200_000_000
    assert parse_as_of("1772341200000000", MICROSECONDS) == 1_772_341_200_000_000
    assert parse_as_of("12", SEQUENCE) == 12
    for text, kind in [("yesterday", MICROSECONDS), ("12", MICROSECONDS), ("2026-03-01", SEQUENCE), ("-1", SEQUENCE)]:
        with pytest.raises(SettingsError, match="--as-of"):
            parse_as_of(text, kind)
