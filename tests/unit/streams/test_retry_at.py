"""When a picture that was not there is looked for again."""

from streams.embed import BACKOFF_US_MAX, RETRY_TRIES_MIN, is_given_up, retry_at

S = 1_000_000


def test_the_pause_doubles_up_to_a_minute() -> None:
    assert [retry_at(attempts, 0) // S for attempts in (1, 2, 3, 6, 7, 1000)] == [1, 2, 4, 32, 60, 60]


def test_not_before_the_host_said_but_within_a_minute() -> None:
    assert retry_at(1, 5 * S, asked_s=20) == 25 * S
    assert retry_at(7, 0, asked_s=3) == BACKOFF_US_MAX
    assert retry_at(1, 0, asked_s=3600) == BACKOFF_US_MAX


def test_the_pictures_of_one_host_come_back_one_after_the_other() -> None:
    dues = [retry_at(1, 0, asked_s=40, chance=number / 10) for number in range(11)]
    assert dues == sorted(set(dues))
    assert (dues[0], dues[-1]) == (40 * S, 50 * S)


def test_what_is_old_when_it_comes_is_tried_as_often_as_anything() -> None:
    day_ms = 24 * 3600 * 1000
    now_us = 3 * day_ms * 1000
    assert not is_given_up(0, 0, now_us), "after an outage of the worker, or as a replayed dead letter"
    assert not is_given_up(RETRY_TRIES_MIN - 1, 0, now_us)
    assert is_given_up(RETRY_TRIES_MIN, 0, now_us)
    assert not is_given_up(1_000, 2 * day_ms, now_us), "a day has not passed"
