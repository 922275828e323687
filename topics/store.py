"""The object store: pictures, thumbnails, generations. Reached by URL: ``file://`` here, ``s3://`` in s3_store.

Every key is a relative path of plain segments. The one thing asked of a store beyond get and put is a create
that fails when the key exists, because publishing a generation rests on it.
"""

import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from schemas.errors import SettingsError
from schemas.identity import check_tenant
from topics.disk import TEMPORARY, make_folder, naming_disk_full, remove_abandoned, sync_file, sync_folder

_SEGMENT = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]{0,199}")
_HASH = re.compile(r"[0-9a-f]{16,128}")


class ObjectStore(Protocol):
    """Keys are relative paths; values are bytes, replaced as a whole.

    Every call may raise OSError or StoreUnavailable; what was written is then not there, or whole. A call that writes
    may raise DiskFull, which is both a StorageError and an OSError.
    """

    def get(self, key: str) -> bytes:
        """The bytes; raises FileNotFoundError."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write or replace; a reader sees the old bytes or the new ones, never a mixture."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write durably unless the key exists; of any number of racing callers exactly one gets True.

        After an error it may exist or not: undo nothing that rests on it.
        """
        ...

    def put_file(self, key: str, source: Path) -> None:
        """Write or replace from a local file, durably."""
        ...

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str = "") -> list[str]:
        """The keys below the folder ``prefix``, sorted; empty where there is none."""
        ...

    def delete(self, key: str) -> None:
        """Remove; absent is fine."""
        ...

    def sweep(self, prefix: str, unchanged_s: float) -> None:
        """Remove what was half written below the folder ``prefix`` by whoever died over it so many seconds ago.

        No listing shows it, and it takes room.
        """
        ...

    def local_folder(self, key: str, check: Callable[[Path], None]) -> Path:
        """A local folder of all that lies below ``key``, to memory-map from; ``check`` has passed it.

        A remote store downloads first, and what ``check`` refuses is not kept. Raises what ``check`` raises.
        """
        ...


class FileStore:
    """An ObjectStore in a local folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.root.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> bytes:
        return self._path(key).read_bytes()

    def put(self, key: str, data: bytes) -> None:
        # Every picture passes here: plain strings, since pathlib would take longer than the system.
        path = f"{self.root}/{checked_key(key)}"
        folder = os.path.dirname(path)
        temporary = f"{folder}/{TEMPORARY}{uuid.uuid4().hex}"
        with naming_disk_full(path):
            try:
                descriptor = _created(temporary)
            except FileNotFoundError:
                make_folder(Path(folder))
                descriptor = _created(temporary)
            try:
                with open(descriptor, "wb", buffering=0) as file:
                    _write_whole(file, data)
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise

    def put_if_absent(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        with self._beside(path) as temporary:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                sync_file(file.fileno())
            try:
                # link(2) fails when the name exists, which rename does not: this is the whole commit.
                os.link(temporary, path)
            except FileExistsError:
                return False
            sync_folder(path.parent)
        return True

    def put_file(self, key: str, source: Path) -> None:
        path = self._path(key)
        with self._beside(path) as temporary:
            with source.open("rb") as reader, temporary.open("xb") as writer:
                while chunk := reader.read(1 << 20):
                    writer.write(chunk)
                writer.flush()
                sync_file(writer.fileno())
            temporary.replace(path)
            sync_folder(path.parent)

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str = "") -> list[str]:
        folder = self._path(prefix.rstrip("/")) if prefix else self.root
        return sorted(path.relative_to(self.root).as_posix() for path in _files_below(folder))

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def sweep(self, prefix: str, unchanged_s: float) -> None:
        remove_abandoned(self._path(prefix).rglob(f"{TEMPORARY}*"), unchanged_s)

    def local_path(self, key: str) -> Path:
        """The file or folder itself."""
        return self._path(key)

    def local_folder(self, key: str, check: Callable[[Path], None]) -> Path:
        folder = self._path(key)
        check(folder)
        return folder

    def _path(self, key: str) -> Path:
        return self.root / checked_key(key)

    @contextmanager
    def _beside(self, path: Path) -> Iterator[Path]:
        """A temporary path in the same folder; whatever happens, it is gone afterwards."""
        with naming_disk_full(path):
            make_folder(path.parent)
            temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
            try:
                yield temporary
            finally:
                temporary.unlink(missing_ok=True)


def _created(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _write_whole(file: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def open_store(url: str, environ: Mapping[str, str] = os.environ) -> ObjectStore:
    """The store at ``file:///folder`` (a plain path is one too) or ``s3://bucket/folder``.

    Args:
        environ: where FRESHLENS_S3_ENDPOINT and FRESHLENS_DATA are read from, for ``s3://``.

    Raises:
        SettingsError: a store without create-if-absent, since publishing would not be safe; or it cannot be used.
        StoreUnavailable: it does not answer; try again.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return FileStore(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        return _open_s3(url, environ)
    if not parts.scheme and url:
        return FileStore(Path(url))
    raise SettingsError(
        f"object store {parts.scheme}://{parts.hostname or ''}: only file:// and s3:// can create-if-absent"
    )


def _open_s3(url: str, environ: Mapping[str, str]) -> ObjectStore:
    try:
        from topics.s3_store import open_s3_store  # an extra, and half a second of imports
    except ImportError as error:
        raise SettingsError(f"FRESHLENS_STORE={url}: pip install 'freshlens[s3]' ({error})") from error
    return open_s3_store(url, environ)


def checked_key(key: str) -> str:
    """The key, or ValueError for one that could leave the store: no segment starts with a dot."""
    if not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise ValueError(f"not a store key: {key[:200]!r}")
    return key


def original_key(content_hash: str) -> str:
    """Where the original bytes of a picture are kept, by the hexadecimal hash of those bytes."""
    return f"originals/{_spread(content_hash)}"


def thumbnails_key(tenant: str, content_hash: str) -> str:
    """Where the thumbnails of a picture are kept; by tenant, so that no hash opens another's picture."""
    return f"thumbnails/{check_tenant(tenant)}/{_spread(content_hash)}"


def _spread(content_hash: str) -> str:
    if not _HASH.fullmatch(content_hash):
        raise ValueError(f"not a hexadecimal hash: {content_hash[:80]!r}")
    # Two levels: a folder of a million files is slow to list on some file systems.
    return f"{content_hash[:2]}/{content_hash}"


def _files_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(TEMPORARY):
            yield path
