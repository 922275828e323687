"""The files of a dump: Parquet or JSON lines, in a folder or in a bucket."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from schemas.errors import SettingsError

PARQUET = (".parquet", ".pq")
LINES = (".jsonl", ".ndjson", ".json")
ZIPPED = tuple(f"{suffix}.gz" for suffix in LINES)


@dataclass(frozen=True, slots=True)
class DumpFile:
    """One file; ``name`` is its path below the dump's folder, ``stamp`` changes when the file does."""

    path: str
    name: str
    bytes: int
    stamp: str

    @property
    def is_parquet(self) -> bool:
        return self.path.lower().endswith(PARQUET)

    @property
    def is_zipped(self) -> bool:
        return self.path.lower().endswith(ZIPPED)


@dataclass(frozen=True)
class Dump:
    """The files of a dump in order of their names, and how to reach them; pickles for another process."""

    files: tuple[DumpFile, ...]
    scheme: str
    endpoint: str

    def filesystem(self) -> pafs.FileSystem:
        """Opened anew in every process: a connection cannot be sent."""
        return _filesystem(self.scheme, self.endpoint)

    def uri_beside(self, file: int, place: str) -> str:
        """The URI of what lies beside a file in a bucket."""
        return f"{self.scheme}://{self.files[file].path.rpartition('/')[0]}/{place}"


def open_dump(place: str, environ: Mapping[str, str] = os.environ) -> Dump:
    """The dump at a local file or folder, or at ``s3://BUCKET/…``.

    Args:
        environ: AWS_ENDPOINT_URL names another server than that of AWS; credentials are found as usual.

    Raises:
        SettingsError: nothing there that could be loaded, or it cannot be reached.
    """
    scheme = urlsplit(place).scheme if "://" in place else "file"
    if scheme not in ("file", "s3"):
        raise SettingsError(f"{place}: a dump is a local file or folder, or s3://BUCKET/…")
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
    path = place.removeprefix(f"{scheme}://").rstrip("/") if "://" in place else str(Path(place).resolve())
    try:
        filesystem = _filesystem(scheme, endpoint)
        found = _files(filesystem, path)
    except (OSError, pa.ArrowException) as error:
        raise SettingsError(f"{place} cannot be read: {error}") from error
    if not found:
        raise SettingsError(f"{place}: no file of {', '.join((*PARQUET, *LINES, *ZIPPED))} there")
    return Dump(tuple(found), scheme, endpoint)


def _files(filesystem: pafs.FileSystem, path: str) -> list[DumpFile]:
    info = filesystem.get_file_info(path)
    if info.type == pafs.FileType.NotFound:
        raise FileNotFoundError("there is nothing")
    if info.type == pafs.FileType.File:
        return [_dump_file(info, info.base_name)]
    found = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
    files = [_dump_file(each, each.path.removeprefix(path).lstrip("/")) for each in found if each.is_file]
    return sorted((file for file in files if _is_meant(file.name)), key=lambda file: file.name)


def _is_meant(name: str) -> bool:
    """Hidden files, and Spark's ``_SUCCESS`` and ``_temporary``, are no part of a dump."""
    is_hidden = any(part.startswith((".", "_")) for part in name.split("/"))
    return not is_hidden and name.lower().endswith((*PARQUET, *LINES, *ZIPPED))


def _dump_file(info: pafs.FileInfo, name: str) -> DumpFile:
    return DumpFile(info.path, name, info.size or 0, str(info.mtime_ns))


def _filesystem(scheme: str, endpoint: str) -> pafs.FileSystem:
    if scheme == "file":
        return pafs.LocalFileSystem()
    options: dict[str, Any] = {}
    if endpoint:
        parts = urlsplit(endpoint)
        options = {"endpoint_override": parts.netloc, "scheme": parts.scheme}
        if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
            options["region"] = region
    return pafs.S3FileSystem(**options)
