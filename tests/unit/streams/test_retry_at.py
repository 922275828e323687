"""When a picture that was not there is looked for again."""

from streams.embed import BACKOFF_US_MAX, retry_at

S = 1_000_000


def test_the_pause_doubles_up_to_a_minute() -> None:
    assert [retry_at(attempts, 0) // S for attempts in (1, 2, 3, 6, 7, 1000)] == [1, 2, 4, 32, 60, 60]


def test_not_before_the_host_said() -> None:
    assert retry_at(1, 5 * S, asked_s=120) == 125 * S
    assert retry_at(7, 0, asked_s=3) == BACKOFF_US_MAX


def test_the_pictures_of_one_host_come_back_one_after_the_other() -> None:
    dues = [retry_at(1, 0, asked_s=100, chance=number / 10) for number in range(11)]
    assert dues == sorted(set(dues))
    assert (dues[0], dues[-1]) == (100 * S, 125 * S)
