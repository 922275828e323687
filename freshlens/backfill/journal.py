"""How far a back-fill has come: a file of JSON lines in the data directory, so that a killed one goes on."""

import fcntl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO

import msgspec

from freshlens.backfill.rows import Done, RowSet, intervals_of
from schemas.errors import SettingsError


class Entry(msgspec.Struct, frozen=True):
    """One line: rows of a file that are done, how many with which outcome."""

    file: int
    rows: list[tuple[int, int]]
    outcomes: dict[str, int]
    encoded: int = 0


class Journal:
    """Written by one process; a line that was cut short by a crash is passed over, and its rows are done again."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        self._rows: dict[int, RowSet] = {}
        self.outcomes: Counter[str] = Counter()
        self.encoded = 0
        for line in path.read_bytes().split(b"\n"):
            self._take(line)

    def rows(self, file: int) -> RowSet:
        """The rows of a file that are done."""
        return self._rows.setdefault(file, RowSet())

    @property
    def done(self) -> int:
        """How many rows are done."""
        return sum(map(len, self._rows.values()))

    def add(self, done: Done) -> None:
        """Note rows as done; what was noted survives the end of this process, however it ends."""
        outcomes = Counter(row.outcome for row in done.rows)
        entry = Entry(done.file, intervals_of(row.number for row in done.rows), dict(outcomes), done.encoded)
        # A crash may have left half a line: the new one begins on its own.
        self._file.write(b"\n" + msgspec.json.encode(entry) + b"\n")
        self._file.flush()
        self._count(entry)

    def remove(self) -> None:
        """The dump is loaded: the next run of it begins anew, and embeds nothing twice."""
        self._path.unlink(missing_ok=True)

    def _take(self, line: bytes) -> None:
        try:
            entry = msgspec.json.decode(line, type=Entry)
        except msgspec.DecodeError:
            return
        self._count(entry)

    def _count(self, entry: Entry) -> None:
        rows = self.rows(entry.file)
        for first, last in entry.rows:
            rows.add(first, last)
        self.outcomes.update(entry.outcomes)
        self.encoded += entry.encoded


@contextmanager
def open_journal(folder: Path, fingerprint: str) -> Iterator[Journal]:
    """The journal of this very load, new or where it stopped.

    Raises:
        SettingsError: ``already-running``: another process loads just this.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{fingerprint}.jsonl"
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError("this dump is being loaded by another process", code="already-running") from None
        yield Journal(path, file)


def fingerprint_of(*parts: object) -> str:
    """What a load is, by everything that decides about its records."""
    return blake2b(msgspec.json.encode([str(part) for part in parts]), digest_size=12).hexdigest()
