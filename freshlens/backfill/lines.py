"""From a row of a dump to a checked event, by the rules that hold for ``freshlens publish`` and for live events."""

from pathlib import Path
from typing import Any

import msgspec

from freshlens.backfill.dates import DumpDate
from freshlens.backfill.dump import Dump
from freshlens.backfill.rows import Row
from freshlens.publishing import locate_beside
from processors.added import DeclarationOf, Incoming, check_event
from schemas.errors import InvalidProduct
from schemas.events import Picture, Source
from schemas.identity import product_key
from schemas.product_lines import LocatePicture, product_added

TOPIC = "backfill"
"""What stands for an input topic in the sources of a back-fill's records, with the file's name behind it."""
_NAME_CHARS_MAX = 200


class Lines:
    """Reads rows of one tenant's dump."""

    def __init__(
        self, dump: Dump, tenant: str, date: DumpDate, declaration_of: DeclarationOf, *, started_at_ms: int
    ) -> None:
        self._dump, self._tenant, self._date = dump, tenant, date
        self._declaration_of, self._started_at_ms = declaration_of, started_at_ms

    def read(self, file: int, row: Row) -> Incoming:
        """The event of a row, checked, with its version resolved; pictures beside a local file are read.

        Raises:
            InvalidRecord: with the code that says why. Dead-letter it.
        """
        declaration = self._declaration_of(self._tenant)
        event = product_added(
            _object(row),
            tenant=self._tenant,
            volatile=frozenset(declaration.volatile),
            locate=locate_of(self._dump, file),
        )
        check_event(event, declaration)
        resolved = self._date.version_of(event.version, row.number, self._started_at_ms * 1000)
        source = source_of(self._dump, file, row.number, self._started_at_ms)
        return Incoming(product_key(event.tenant, event.product_id), source, event, resolved)

    def key_of(self, row: Row) -> bytes | None:
        """The record key of a row that cannot be read, as far as it tells which product it is."""
        try:
            return product_key(self._tenant, str(_object(row)["product_id"])).to_bytes()
        except (InvalidProduct, KeyError):
            return None


def source_of(dump: Dump, file: int, number: int, started_at_ms: int) -> Source:
    """Where a record of a back-fill comes from: the file and its row."""
    return Source(f"{TOPIC}:{dump.files[file].name}"[:_NAME_CHARS_MAX], file, number, started_at_ms)


def locate_of(dump: Dump, file: int) -> LocatePicture:
    """How a picture of a row is found: a URI as it is, a path relative to the file."""
    if dump.scheme == "file":
        return locate_beside(Path(dump.files[file].path).parent)

    def locate(place: str) -> Picture:
        return Picture(uri=place if "://" in place else dump.uri_beside(file, place))

    return locate


def _object(row: Row) -> dict[str, Any]:
    if row.broken is not None:
        raise InvalidProduct(row.broken)
    try:
        found = msgspec.json.decode(row.line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidProduct(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidProduct("a product is a JSON object")
    return found
