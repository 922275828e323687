"""Writing to a local disk so that it is there after a power failure, or was never there (HOLES 29)."""

import errno
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.errors import DiskFull

TEMPORARY = ".tmp-"
"""Names of files and folders that are still being written begin with it."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_RESERVE_BYTES = 64 << 20
"""Left free, since a machine without any room fails in ways of its own."""
_WAY_OUT = "make room there, or move it to a larger disk; what was half written is gone, what was there before stays"


@contextmanager
def naming_disk_full(place: Path | str) -> Iterator[None]:
    """Raise DiskFull, which says what to do, for what the system says when ``place`` has no room."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFull(f"no room to write {place} ({error.strerror}): {_WAY_OUT}") from error
        raise


def check_room(folder: Path, wanted_bytes: int) -> None:
    """Do nothing if so many bytes can be written below the (existing) folder.

    Raises:
        DiskFull: before anything was written.
    """
    free = shutil.disk_usage(folder).free
    if free < wanted_bytes + _RESERVE_BYTES:
        raise DiskFull(
            f"{wanted_bytes >> 20} MiB and a reserve of {_RESERVE_BYTES >> 20} MiB are wanted in {folder}, "
            f"{free >> 20} MiB are free: {_WAY_OUT}"
        )


def remove_abandoned(paths: Iterable[Path], unchanged_s: float) -> None:
    """Remove the files and folders that whoever wrote them died over: nothing in them changed for so many seconds.

    What cannot be removed stays: it may be another user's.
    """
    for path in list(paths):
        with suppress(OSError):  # another process may be faster
            if time.time() - max(map(changed_at, (path, *path.rglob("*")))) > unchanged_s:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def changed_at(path: Path) -> float:
    """When, in seconds since 1970; 0 if it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def make_folder(folder: Path) -> None:
    """Make the folder and those above it, so that the way to what is written in it is durable too."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_file(descriptor: int) -> None:
    """Wait until the disk has it. After a failure the pages may be lost while a second call succeeds: give up."""
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)
