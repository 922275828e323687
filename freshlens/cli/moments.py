"""Times on the command line: ``2h`` ago, or a date and time."""

import re
import time
from datetime import UTC, datetime

import click

_SPANS_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


class Moment(click.ParamType):
    """A past moment in microseconds since 1970: a span before now (``90s``, ``30m``, ``2h``, ``7d``) or ISO 8601."""

    name = "moment"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Click's hook: the text as microseconds; fails with usage for anything else."""
        if isinstance(value, int):
            return value
        if span := re.fullmatch(r"(\d{1,6})([smhd])", value):
            return time.time_ns() // 1_000 - int(span[1]) * _SPANS_US[span[2]]
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither a span as 90s, 30m, 2h or 7d nor a time as 2027-01-31T10:00", param, ctx)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)


MOMENT = Moment()
