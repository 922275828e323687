"""What the headers of an answer mean for fetching again: has the picture changed, and when to ask. Pure."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from processors.fetching.policy import Validators
from schemas.hashing import content_hash

RETRY_AFTER_S_MAX = 3600.0
_ETAG = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,256}"')


def conditions(known: Validators | None, place: bytes) -> dict[str, str]:
    """Headers of a request that is answered 304 where the picture is still the one that is known.

    Args:
        place: names what is asked; validators of another place are not sent.
    """
    if known is None or known.place != content_hash(place):
        return {}
    if known.etag is not None:
        return {"If-None-Match": known.etag}
    return {"If-Modified-Since": known.last_modified} if known.last_modified is not None else {}


def validators_of(headers: Mapping[str, str], raw: bytes, place: bytes) -> Validators:
    """Validators of a picture that was just fetched."""
    etag = headers.get("ETag")
    if etag is not None and not _ETAG.fullmatch(etag):
        etag = None
    return Validators(content_hash(raw), etag, _last_modified(headers), content_hash(place))


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float:
    """In how many seconds the host wants to be asked again: 0 where it does not say, at most RETRY_AFTER_S_MAX."""
    said = headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdecimal():
        return min(float(said[:9]), RETRY_AFTER_S_MAX)
    at = _date(said)
    if at is None:
        return 0.0
    # By its own clock, where it tells it.
    seconds = (at - (_date(headers.get("Date", "")) or now)).total_seconds()
    return min(max(seconds, 0.0), RETRY_AFTER_S_MAX)


def _last_modified(headers: Mapping[str, str]) -> str | None:
    """The date, unless the picture could have changed again within its second (RFC 9110, 8.8.2.2)."""
    said = headers.get("Last-Modified")
    if said is None:
        return None
    changed, answered = _date(said), _date(headers.get("Date", ""))
    if changed is None or answered is None or (answered - changed).total_seconds() < 1:
        return None
    return said


def _date(text: str) -> datetime | None:
    if len(text) > 64 or not text.isascii() or not text.isprintable():
        return None
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
