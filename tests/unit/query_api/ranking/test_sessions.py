"""What a session clicked on: decayed, bounded, forgotten."""

import numpy as np
import pytest

from query_api.ranking.clicks_seen import ClicksSeen
from query_api.ranking.sessions import CLICKS_MAX, HALF_LIFE_US, SessionProfiles
from tests.unit.query_api.doubles import DIM, vector_of

A, B = vector_of("a"), vector_of("b")


def learnt(profiles: SessionProfiles, session: str = "s") -> SessionProfiles:
    profiles.learn("t", session, {"a": A, "b": B, "gone": None})
    return profiles


def test_one_click_is_its_vector() -> None:
    profiles = SessionProfiles()
    profiles.clicked("t", "s", "a", "click", 0)
    assert profiles.knows("t", "s")
    assert profiles.unknown("t", "s") == ("a",)
    assert profiles.profile("t", "s", 0) is None
    profile = learnt(profiles).profile("t", "s", 0)
    assert profile is not None
    np.testing.assert_allclose(profile, A, atol=1e-6)
    assert profiles.unknown("t", "s") == ()


def test_older_clicks_count_less_and_purchases_more() -> None:
    profiles = SessionProfiles()
    profiles.clicked("t", "s", "a", "click", 0)
    profiles.clicked("t", "s", "b", "click", HALF_LIFE_US)
    profile = learnt(profiles).profile("t", "s", HALF_LIFE_US)
    expected = 0.5 * A + B
    assert profile is not None
    np.testing.assert_allclose(profile, expected / np.linalg.norm(expected), atol=1e-6)
    profiles.clicked("t", "s", "a", "purchase", HALF_LIFE_US)
    bought = learnt(profiles).profile("t", "s", HALF_LIFE_US)
    assert bought is not None
    assert bought @ A > profile @ A


def test_what_is_gone_is_forgotten() -> None:
    profiles = SessionProfiles()
    profiles.clicked("t", "s", "gone", "click", 0)
    assert learnt(profiles).profile("t", "s", 0) is None
    assert profiles.unknown("t", "s") == ()
    assert not profiles.knows("t", "s")


@pytest.mark.parametrize("kind", ["report"])
def test_what_is_no_liking_does_not_count(kind: str) -> None:
    profiles = SessionProfiles()
    profiles.clicked("t", "s", "a", kind, 0)  # type: ignore[arg-type]
    profiles.clicked("t", None, "a", "click", 0)
    profiles.clicked("t", "", "a", "click", 0)
    assert not profiles.knows("t", "s")
    assert not profiles.knows("t", None)


def test_tenants_and_sessions_are_apart() -> None:
    profiles = SessionProfiles()
    profiles.clicked("t", "s", "a", "click", 0)
    learnt(profiles)
    assert profiles.profile("other", "s", 0) is None
    assert profiles.profile("t", "r", 0) is None
    profiles.forget("t", "s")
    assert not profiles.knows("t", "s")


def test_memory_is_bounded() -> None:
    profiles = SessionProfiles(sessions_max=2)
    for session in ("one", "two", "one", "three"):
        profiles.clicked("t", session, "a", "click", 0)
    assert [profiles.knows("t", name) for name in ("one", "two", "three")] == [True, False, True]
    for number in range(3 * CLICKS_MAX):
        profiles.clicked("t", "one", f"p{number}", "click", 0)
    assert len(profiles.unknown("t", "one")) == CLICKS_MAX


def test_dislike_alone_points_away() -> None:
    profiles = SessionProfiles()
    profiles.clicked("t", "s", "a", "not_relevant", 0)
    profile = learnt(profiles).profile("t", "s", 0)
    assert profile is not None
    assert float(profile @ A) == pytest.approx(-1, abs=1e-5)
    assert profile.shape == (DIM,)


def test_a_new_arrival_has_the_mean_rate() -> None:
    seen = ClicksSeen()
    for _ in range(100):
        seen.shown("t", ["liked", "passed"])
        seen.clicked("t", "liked")
    mean = (100 + 1) / (200 + 20)
    assert seen.rate("t", "new") == pytest.approx(mean)
    assert seen.rate("t", "passed") < seen.rate("t", "new") < seen.rate("t", "liked") < 1
    assert seen.times_shown("t", "liked") == 100
    assert seen.rate("other", "liked") == pytest.approx(0.05)


def test_a_click_on_what_was_not_shown_here_counts_nothing() -> None:
    seen = ClicksSeen(products_max=2)
    seen.clicked("t", "a")
    assert seen.times_shown("t", "a") == 0
    seen.shown("t", ["a"])
    for _ in range(9):
        seen.clicked("t", "a")
    assert seen.rate("t", "a") <= 1
    seen.shown("t", ["b", "c"])
    assert seen.times_shown("t", "a") == 0, "the oldest is forgotten"
