"""What headers say about asking again."""

from datetime import UTC, datetime

import pytest

from processors.fetching.http_answers import conditions, retry_after_s, validators_of
from processors.fetching.policy import Validators
from schemas.hashing import content_hash

PLACE = b"https://cdn.example/a.jpg"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OLD, DATE = "Thu, 01 Jan 2026 00:00:00 GMT", "Fri, 02 Jan 2026 03:04:05 GMT"


def test_what_was_said_is_asked_with_of_the_same_place_only() -> None:
    known = validators_of({"ETag": 'W/"a"', "Last-Modified": OLD, "Date": DATE}, b"picture", PLACE)
    assert known == Validators(content_hash(b"picture"), 'W/"a"', OLD, content_hash(PLACE))
    assert conditions(known, PLACE) == {"If-None-Match": 'W/"a"'}
    assert conditions(known, b"https://cdn.example/b.jpg") == {}
    assert conditions(None, PLACE) == {}


def test_a_date_is_asked_with_where_there_is_no_etag() -> None:
    known = validators_of({"Last-Modified": OLD, "Date": DATE}, b"picture", PLACE)
    assert conditions(known, PLACE) == {"If-Modified-Since": OLD}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Last-Modified": DATE, "Date": DATE},  # it may change again within this second
        {"Last-Modified": OLD},
        {"Last-Modified": "yesterday", "Date": DATE},
        {"Last-Modified": OLD + "\udce4", "Date": DATE},
        {"ETag": "a"},
        {"ETag": '"a\udce4"'},
        {"ETag": '"' + "a" * 300 + '"'},
        {"ETag": '"a" "b"'},
    ],
)
def test_what_proves_nothing_is_not_asked_with(headers: dict[str, str]) -> None:
    assert conditions(validators_of(headers, b"picture", PLACE), PLACE) == {}


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("", 0),
        ("120", 120),
        (" 7 ", 7),
        ("999999999999999999999999", 3600),
        ("-5", 0),
        ("1.5", 0),
        ("²", 0),
        ("soon", 0),
        ("Fri, 02 Jan 2026 03:05:05 GMT", 60),
        ("Fri, 02 Jan 2026 03:05:05", 60),
        (OLD, 0),
        ("Fri, 02 Jan 9999 03:05:05 GMT", 3600),
        ("Fri, 99 Jan 2026 03:05:05 GMT", 0),
    ],
)
def test_when_to_come_again(said: str, seconds: float) -> None:
    assert retry_after_s({"Retry-After": said}, NOW) == seconds


def test_a_date_is_by_the_clock_of_the_host() -> None:
    headers = {"Retry-After": "Fri, 02 Jan 2026 03:05:05 GMT", "Date": "Fri, 02 Jan 2026 03:05:00 GMT"}
    assert retry_after_s(headers, NOW) == 5
