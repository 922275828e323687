import pytest

from schemas.errors import LogChanged, LogTruncated
from schemas.layout import LogId
from topics.administration import check_position

LOG, OTHER = LogId("c", "t"), LogId("c", "u")


def check(next_offset, expected=LOG):
    check_position(
        topic="index-log",
        partition=3,
        expected=expected,
        found=LOG,
        next_offset=next_offset,
        log_start=10,
        log_end=20,
    )


@pytest.mark.parametrize("next_offset", [10, 15, 20])
def test_a_position_within_the_log_is_fine(next_offset):
    check(next_offset)


@pytest.mark.parametrize(
    ("next_offset", "expected", "error"),
    [(9, LOG, LogTruncated), (21, LOG, LogChanged), (15, OTHER, LogChanged), (9, OTHER, LogChanged)],
)
def test_a_position_that_is_not_there_stops_us(next_offset, expected, error):
    with pytest.raises(error, match=r"index-log\[3\]"):
        check(next_offset, expected)
