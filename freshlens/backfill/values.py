"""The JSON form of a Parquet row: a row is the JSON object of its columns (docs/backfill.md). Pure."""

import base64
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIMES = ("version", "event_time")
"""Columns whose times are numbers of microseconds in an event."""


def line_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object that ``freshlens publish`` would take for this row.

    Bytes are a picture, ``{"base64": …}``; so is a column of structs ``{"bytes", "path"}``, as data sets keep pictures.
    Times are ISO 8601, but microseconds in ``version`` and ``event_time``; NaN, as pandas writes what is missing, is
    null.
    """
    return {name: microseconds(value) if name in _TIMES else plain(value) for name, value in row.items()}


def microseconds(value: Any) -> Any:
    """A time as microseconds since 1970, without a zone taken as UTC; anything else as :func:`plain`."""
    if not isinstance(value, datetime):
        return plain(value)
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return _struct(value)
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def _struct(value: Mapping[str, Any]) -> Any:
    if set(value) == {"bytes", "path"}:
        return plain(value["bytes"] if value["bytes"] is not None else value["path"])
    return {name: plain(each) for name, each in value.items()}
