"""Pictures from local files below the allowed folders: nothing else is opened, and nothing is waited for."""

import os
import stat
from pathlib import Path

from processors.fetching.policy import Fetched, FetchPolicy, Validators, check_below_roots, check_size
from schemas.errors import ImageRefused
from schemas.hashing import content_hash

_SETTLED_NS = 2_000_000_000
"""A file that changed this recently may change again without showing it: file systems count coarsely."""


def read_file(path: Path, policy: FetchPolicy, known: Validators | None, now_ns: int) -> Fetched:
    """Read a file, unless it is as it was.

    Raises:
        ImageRefused: outside the roots, or not a plain file.
        ImageTooLarge: more than the policy allows.
        OSError: it cannot be read.
    """
    real = Path(os.path.realpath(path, strict=True))
    opened = _opened(real, check_below_roots(real, policy))
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise ImageRefused(f"{str(real)!r} is not a plain file")
        etag = file_etag(found, now_ns)
        if known is not None and etag is not None and known.etag == etag:
            return Fetched(None, known)
        with open(opened, "rb", closefd=False) as file:
            raw = file.read(policy.image_bytes_max + 1)
    finally:
        os.close(opened)
    check_size(len(raw), policy)
    return Fetched(raw, Validators(content_hash(raw), etag))


def file_etag(found: os.stat_result, now_ns: int) -> str | None:
    """What changes whenever the file does; None while it is too young to tell."""
    # The time of the last change of the inode cannot be set back, as that of the content can.
    if now_ns - max(found.st_mtime_ns, found.st_ctime_ns) < _SETTLED_NS:
        return None
    return f"{found.st_dev:x}-{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}-{found.st_ctime_ns:x}"


def _opened(real: Path, root: Path) -> int:
    """Descend folder by folder without following links: one that was put there meanwhile leads nowhere."""
    *folders, name = real.relative_to(root).parts or (".",)
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        # Opening a pipe must not wait for a writer, nor opening a terminal take it.
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=here)
    finally:
        os.close(here)
