"""Versions of a dump's products, so that an old dump overwrites nothing newer and revives nothing (HOLES 27). Pure."""

from dataclasses import dataclass
from datetime import datetime

from schemas.errors import SettingsError, VersionMissing, VersionOutOfRange
from schemas.versions import AHEAD_US_MAX, SEQUENCE_MAX, VERSION_US_MIN, ResolvedVersion, VersionKind, resolve
from topics.declarations import DAY_MS, TOMBSTONE_MS

_DAY_US = DAY_MS * 1000


@dataclass(frozen=True, slots=True)
class DumpDate:
    """By what the rows of a dump are dated.

    Attributes:
        kind: the tenant's kind of versions.
        as_of: the version of rows that have none: the dump's time in microseconds, or its sequence number.
        forgets: whether deletes may have been forgotten: not while the log is younger than tombstones live.
        horizon_us: what was deleted longer ago may be forgotten, so nobody could tell any more that it is deleted.
    """

    kind: VersionKind
    as_of: int | None = None
    forgets: bool = True
    horizon_us: int = TOMBSTONE_MS * 1000

    def check(self, now_us: int) -> None:
        """Do nothing if a dump of this date may be loaded; raises SettingsError."""
        if self.as_of is None or self.kind is VersionKind.SEQUENCE:
            return
        if self.as_of > now_us + AHEAD_US_MAX:
            raise SettingsError("--as-of lies in the future: give the time at which the dump was made")
        if self.forgets and self.as_of < now_us - self.horizon_us:
            raise SettingsError(
                f"--as-of is {(now_us - self.as_of) // _DAY_US} days ago, and deletes are remembered for "
                f"{self.horizon_us // _DAY_US}: products deleted since would come back. Load a newer dump"
            )

    def version_of(self, version: int | None, row: int, now_us: int) -> ResolvedVersion:
        """The version of a row, from its own or from the dump's date.

        Args:
            version: as the row has it.
            row: its number; among rows of the dump's date the later one wins.

        Raises:
            VersionMissing: neither is there. VersionOutOfRange: of another kind, or so old that its product may have
                been deleted since, and the dump's date is not known.
        """
        if version is None:
            if self.as_of is None:
                raise VersionMissing(
                    "the row has no version: add the column, or say with --as-of when the dump was made"
                )
            return ResolvedVersion(self.as_of, row)
        resolved = resolve(self.kind, version, appended_at_ms=now_us // 1000, offset=row)
        if self.kind is VersionKind.MICROSECONDS and self.as_of is None and self.forgets:
            self._check_age(resolved.version, now_us)
        return resolved

    def _check_age(self, version: int, now_us: int) -> None:
        if version < now_us - self.horizon_us:
            days = self.horizon_us // _DAY_US
            raise VersionOutOfRange(
                f"version {version} is over {days} days old, and deletes are not remembered for longer: the product "
                "may be deleted since. Say with --as-of when the dump was made"
            )


def parse_as_of(text: str, kind: VersionKind) -> int:
    """The version that ``--as-of`` names: an ISO 8601 time (local where it names no zone), or a number.

    Raises:
        SettingsError: neither, or not of the tenant's kind of versions.
    """
    if text.isdecimal():
        return _number(int(text), kind)
    if kind is VersionKind.SEQUENCE:
        raise SettingsError(f"--as-of {text}: this tenant's versions are sequence numbers, so give one")
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1_000_000)
    except ValueError:
        raise SettingsError(f"--as-of {text}: not a time such as 2026-03-01T06:00+01:00") from None


def _number(number: int, kind: VersionKind) -> int:
    least, most = (0, SEQUENCE_MAX) if kind is VersionKind.SEQUENCE else (VERSION_US_MIN, 2**62)
    if not least <= number < most:
        raise SettingsError(f"--as-of {number}: not a version of kind {kind.value}")
    return number
