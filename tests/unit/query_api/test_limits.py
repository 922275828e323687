"""Rates, quotas and requests in hand, by a clock that is passed in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query_api.access.api_keys import ApiKey, new_key
from query_api.access.limits import DailyQuota, InHand, KeyLimits, TokenBucket
from schemas.errors import Overloaded, QuotaUsed, RateLimited

DAY_US = 86_400_000_000
NOON_US = 20_000 * DAY_US + DAY_US // 2


def key(**over: object) -> ApiKey:
    given: dict[str, object] = {"tenant": "shop", "scopes": ["search"], "created_at_us": 1, **over}
    return new_key("k", **given).key  # type: ignore[arg-type]


class TestTokenBucket:
    def test_a_burst_of_one_second_and_then_the_rate(self) -> None:
        bucket = TokenBucket(4)
        assert [bucket.take(10.0) for _ in range(4)] == [0, 0, 0, 0]
        assert bucket.take(10.0) == pytest.approx(0.25)
        assert bucket.take(10.25) == 0
        assert bucket.take(10.25) > 0

    def test_a_slow_rate_lets_the_first_one_through(self) -> None:
        bucket = TokenBucket(0.1)
        assert bucket.take(0.0) == 0
        assert bucket.take(1.0) == pytest.approx(9.0)
        assert bucket.take(10.0) == 0

    def test_waiting_long_saves_up_no_more_than_one_second(self) -> None:
        bucket = TokenBucket(2)
        bucket.take(0.0)
        assert sum(bucket.take(1_000.0) == 0 for _ in range(10)) == 2

    def test_a_clock_that_stands_or_goes_back_gives_nothing(self) -> None:
        bucket = TokenBucket(1)
        assert bucket.take(5.0) == 0
        assert bucket.take(5.0) > 0
        assert bucket.take(1.0) > 0

    @given(
        rate=st.floats(0.05, 1_000),
        pauses=st.lists(st.floats(0, 3), min_size=1, max_size=60),
    )
    def test_never_more_than_rate_and_burst_and_the_time_said_is_enough(self, rate: float, pauses: list[float]) -> None:
        bucket, now, taken, start = TokenBucket(rate), 0.0, 0, 0.0
        for pause in pauses:
            now += pause
            wait = bucket.take(now)
            taken += wait == 0
            if wait:
                now += wait
                assert bucket.take(now) == 0
                taken += 1
        assert taken <= (now - start) * rate + max(1.0, rate) + 1e-6


class TestDailyQuota:
    def test_so_many_a_day_until_midnight(self) -> None:
        quota = DailyQuota(2)
        assert [quota.take(NOON_US), quota.take(NOON_US)] == [0, 0]
        assert quota.take(NOON_US) == pytest.approx(12 * 3600)
        midnight = NOON_US + DAY_US // 2
        assert quota.take(midnight - 1_000_000) == pytest.approx(1.0)
        assert quota.take(midnight) == 0

    def test_a_clock_that_goes_back_starts_no_new_day(self) -> None:
        quota = DailyQuota(1)
        assert quota.take(NOON_US) == 0
        assert quota.take(NOON_US - DAY_US) > 0


class TestKeyLimits:
    def test_a_key_without_limits_has_none(self) -> None:
        limits, free = KeyLimits(), key()
        for _ in range(1_000):
            limits.take(free, now_s=0, now_us=NOON_US)

    def test_keys_do_not_disturb_each_other(self) -> None:
        limits, one, other = KeyLimits(), key(rate_per_s=1.0), key(rate_per_s=1.0)
        limits.take(one, now_s=0, now_us=NOON_US)
        with pytest.raises(RateLimited) as raised:
            limits.take(one, now_s=0, now_us=NOON_US)
        assert (raised.value.code, raised.value.retry_after_s) == ("rate-limited", pytest.approx(1.0))
        limits.take(other, now_s=0, now_us=NOON_US)

    def test_what_the_rate_refuses_uses_no_quota(self) -> None:
        limits, both = KeyLimits(), key(rate_per_s=1.0, quota_per_day=2)
        limits.take(both, now_s=0, now_us=NOON_US)
        for _ in range(5):
            with pytest.raises(RateLimited, match="a second"):
                limits.take(both, now_s=0, now_us=NOON_US)
        limits.take(both, now_s=1, now_us=NOON_US)
        with pytest.raises(QuotaUsed) as raised:
            limits.take(both, now_s=2, now_us=NOON_US)
        assert (raised.value.code, raised.value.retry_after_s) == ("quota-used", pytest.approx(12 * 3600))


class TestInHand:
    def test_one_too_many_is_refused_and_room_comes_back(self) -> None:
        in_hand = InHand(2)
        with in_hand, in_hand:
            with pytest.raises(Overloaded), in_hand:
                pytest.fail("one too many")
            assert in_hand.count == 2
        assert in_hand.count == 0

    def test_room_comes_back_after_a_failure(self) -> None:
        in_hand = InHand(1)
        with pytest.raises(ZeroDivisionError), in_hand:
            raise ZeroDivisionError
        with in_hand:
            pass
