"""Folders of a remote store as local files, to be memory-mapped: whole and checked, or not there (HOLES 29).

A copy is downloaded beside its place, checked file by file, and renamed. It is unlinked in the end and never
truncated, so what is mapped stays readable.
"""

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import structlog

from schemas.errors import StorageError
from topics.disk import TEMPORARY, changed_at, check_room, make_folder, naming_disk_full, remove_abandoned, sync_folder

KEPT = 2
"""Copies kept of those that lie in one folder: what is served, and what it may go back to."""
_OPENING_S = 600.0
"""Another process may be about to map a copy that was looked at so recently."""
_ABANDONED_S = 3600.0
"""A download that has written nothing for so long has died."""

_log = structlog.get_logger()

Check = Callable[[Path], None]
"""Raises StorageError for a folder that is not what it must be."""


class Source(Protocol):
    """Where copies come from."""

    def sizes(self, folder: str) -> Mapping[str, int]:
        """Key → bytes of everything below the folder."""
        ...

    def fetch(self, key: str, target: Path) -> None:
        """Write one object to a new local file, durably."""
        ...


class LocalCopies:
    """Copies under ``root``, which several processes may share."""

    def __init__(self, root: Path, source: Source) -> None:
        self._root, self._source = root, source

    def folder(self, key: str, check: Check) -> Path:
        """The checked copy of a folder of the store; downloaded if it is not here, or not what it was.

        Raises:
            StorageError: what ``check`` raised for what the store has. DiskFull: there is no room for a copy.
            StoreUnavailable: try again.
        """
        copy = self._root / key
        if not self._is_good(copy, check):
            self._download(key, copy, check)
            self._remove_older_than(copy)
        os.utime(copy)
        return copy

    def _is_good(self, copy: Path, check: Check) -> bool:
        if not copy.is_dir():
            return False
        try:
            check(copy)
        except StorageError as error:
            _log.warning("local-copy-damaged", code=error.code, reason=error.message)
            self._remove(copy)
            return False
        return True

    def _download(self, key: str, copy: Path, check: Check) -> None:
        make_folder(copy.parent)
        remove_abandoned(self._root.glob(f"{TEMPORARY}*"), _ABANDONED_S)
        sizes = self._source.sizes(key)
        check_room(self._root, sum(sizes.values()))
        with self._temporary() as beside, naming_disk_full(copy):
            beside.mkdir()
            for name in sizes:
                target = beside / name.removeprefix(f"{key}/")
                make_folder(target.parent)
                self._source.fetch(name, target)
            check(beside)
            sync_folder(beside)
            try:
                beside.rename(copy)
            except OSError:
                if not self._is_good(copy, check):  # else another process was faster
                    raise
            sync_folder(copy.parent)

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        """A path that is gone afterwards."""
        path = self._root / f"{TEMPORARY}{uuid.uuid4().hex}"
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _remove_older_than(self, copy: Path) -> None:
        others = [path for path in copy.parent.iterdir() if path != copy]
        for path in sorted(others, key=changed_at, reverse=True)[KEPT - 1 :]:
            if time.time() - changed_at(path) > _OPENING_S:
                self._remove(path)

    def _remove(self, copy: Path) -> None:
        """In one step for whoever looks, so that no half of a copy is ever found."""
        with self._temporary() as aside:
            try:
                copy.rename(aside)
            except FileNotFoundError:
                return  # another process did it
