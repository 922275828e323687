"""Versions of products: which kinds there are, and how one is resolved (HOLES 4)."""

from enum import Enum
from typing import NamedTuple

from schemas.errors import VersionMissing, VersionOutOfRange

VERSION_US_MIN = 946_684_800_000_000
"""2000-01-01 in microseconds: seconds and milliseconds of today lie below it."""
AHEAD_US_MAX = 10 * 60 * 1_000_000
"""A source clock may be ahead of the broker's by ten minutes; beyond, the version would freeze the product."""
SEQUENCE_MAX = 2**62


class VersionKind(Enum):
    """What a tenant's versions are; declared once per tenant."""

    MICROSECONDS = "microseconds"
    SEQUENCE = "sequence"


class ResolvedVersion(NamedTuple):
    """The version that decides, and the tie-break among events whose version was derived."""

    version: int
    sequence: int


def resolve(kind: VersionKind, version: int | None, *, appended_at_ms: int, offset: int) -> ResolvedVersion:
    """Resolve an event's version, once; the result travels with it and is never derived again.

    Args:
        kind: the tenant's declared kind.
        version: as the event has it; None if it has none.
        appended_at_ms: the broker's append time of the record, milliseconds since 1970.
        offset: the record's offset; breaks ties within a batch, which shares one append time.

    Raises:
        VersionMissing: ``sequence`` was declared and there is none.
        VersionOutOfRange: of another kind than declared. Dead-letter the record.
    """
    if kind is VersionKind.SEQUENCE:
        return ResolvedVersion(_checked_sequence(version), 0)
    if version is None:
        return ResolvedVersion(appended_at_ms * 1000, offset)
    if not VERSION_US_MIN <= version <= appended_at_ms * 1000 + AHEAD_US_MAX:
        raise VersionOutOfRange(
            f"version {version} is not microseconds between 2000-01-01 and ten minutes from now; either send "
            "version in microseconds, or use a tenant that was declared to number its versions before it published "
            "anything (freshlens tenants set NAME --versions sequence)"
        )
    return ResolvedVersion(version, 0)


def _checked_sequence(version: int | None) -> int:
    if version is None:
        raise VersionMissing("this tenant declared sequence versions, and the event has no version")
    if not 0 <= version < SEQUENCE_MAX:
        raise VersionOutOfRange(f"sequence {version} is not between 0 and 2^62; send a smaller sequence number")
    return version
