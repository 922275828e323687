"""Versions (HOLES 4): whatever clocks and kinds producers have, no product freezes in silence."""

from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidRecord, VersionMissing, VersionOutOfRange
from schemas.join import Rank, Ranks, decide
from schemas.versions import AHEAD_US_MAX, SEQUENCE_MAX, VERSION_US_MIN, ResolvedVersion, VersionKind, resolve

NOW_MS = 1_795_000_000_000
MICROSECONDS, SEQUENCE = VersionKind.MICROSECONDS, VersionKind.SEQUENCE

hostile_versions = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(NOW_MS * 1000 - AHEAD_US_MAX, NOW_MS * 1000 + 2 * AHEAD_US_MAX),
    st.sampled_from([0, 7, NOW_MS // 1000, NOW_MS, NOW_MS * 1000, NOW_MS * 1_000_000, 2**63 - 1]),
)


class Published(NamedTuple):
    """One event of a producer whose clock and kind of version nobody knows."""

    is_delete: bool
    version: int | None
    appended_at_ms: int
    offset: int


def applied(state: Ranks, event: Published) -> Ranks:
    version, sequence = resolve(MICROSECONDS, event.version, appended_at_ms=event.appended_at_ms, offset=event.offset)
    rank = Rank(version, sequence)
    return decide(state, Ranks(deleted=rank) if event.is_delete else Ranks(content=rank)).after


@given(st.lists(st.tuples(st.booleans(), hostile_versions), max_size=6), st.booleans())
def test_ten_minutes_later_an_honest_event_always_wins(events: list[tuple[bool, int | None]], delete: bool) -> None:
    """Seconds, milliseconds, nanoseconds, a sequence or LONG_MAX are refused aloud, so nothing can stay frozen."""
    state = Ranks()
    for offset, (is_delete, version) in enumerate(events):
        with suppress(VersionOutOfRange):
            state = applied(state, Published(is_delete, version, NOW_MS, offset))
    later_ms = NOW_MS + AHEAD_US_MAX // 1000 + 1
    assert applied(state, Published(delete, None, later_ms, 99)).is_visible is not delete
    assert applied(state, Published(delete, later_ms * 1000, later_ms, 99)).is_visible is not delete


@given(hostile_versions, st.integers(0, 2**40))
def test_an_accepted_version_is_kept_as_it_is(version: int | None, offset: int) -> None:
    for kind in VersionKind:
        try:
            resolved = resolve(kind, version, appended_at_ms=NOW_MS, offset=offset)
        except InvalidRecord:
            continue
        derived = ResolvedVersion(NOW_MS * 1000, offset)
        assert resolved == (derived if version is None else ResolvedVersion(version, 0))


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_without_versions_the_log_decides(first: int, second: int) -> None:
    """Events of one batch share an append time: the offset decides, and a delete wins over an add before it."""
    add, delete = Published(False, None, NOW_MS, first), Published(True, None, NOW_MS, second)
    assert not applied(applied(Ranks(), add), delete).is_visible
    assert not applied(applied(Ranks(), delete), add).is_visible


def test_a_versionless_delete_wins_over_an_add_with_updated_at() -> None:
    """Milliseconds against microseconds: the likeliest mistake, which once meant that nothing was ever deleted."""
    add = Published(False, NOW_MS * 1000 - 5, NOW_MS, 1)
    delete = Published(True, None, NOW_MS, 2)
    assert not applied(applied(Ranks(), add), delete).is_visible


@pytest.mark.parametrize("version", [VERSION_US_MIN, NOW_MS * 1000 + AHEAD_US_MAX])
def test_the_bounds_of_microseconds_are_allowed(version: int) -> None:
    assert resolve(MICROSECONDS, version, appended_at_ms=NOW_MS, offset=3) == (version, 0)


@pytest.mark.parametrize("version", [-1, 0, VERSION_US_MIN - 1, NOW_MS, NOW_MS * 1000 + AHEAD_US_MAX + 1, 2**63 - 1])
def test_beyond_the_bounds_of_microseconds_the_text_names_both_ways_out(version: int) -> None:
    with pytest.raises(VersionOutOfRange, match=r"version in microseconds.*--versions sequence"):
        resolve(MICROSECONDS, version, appended_at_ms=NOW_MS, offset=3)


@pytest.mark.parametrize("version", [-1, SEQUENCE_MAX, 2**63 - 1])
def test_beyond_the_bounds_of_a_sequence(version: int) -> None:
    with pytest.raises(VersionOutOfRange):
        resolve(SEQUENCE, version, appended_at_ms=NOW_MS, offset=3)


def test_a_sequence_is_required_where_it_was_declared() -> None:
    with pytest.raises(VersionMissing):
        resolve(SEQUENCE, None, appended_at_ms=NOW_MS, offset=3)
    assert resolve(SEQUENCE, 7, appended_at_ms=NOW_MS, offset=3) == (7, 0)
