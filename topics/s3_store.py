"""The object store in a bucket of S3, or of a server that speaks its protocol and can create if absent."""

import errno
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3  # type: ignore[import-untyped]
from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from s3transfer.exceptions import RetriesExceededError  # type: ignore[import-untyped]

from schemas.environment import Environment
from schemas.errors import DiskFull, SettingsError, StoreUnavailable
from topics.disk import naming_disk_full, sync_file
from topics.local_copies import LocalCopies
from topics.store import checked_key

_PROBE = ".conditional-writes"
"""Not a key, as it begins with a dot: an object that is only there to be refused a second time."""
_WRITER = "writer"
_CONFLICTS_MAX = 5
_FULL = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "XMinioStorageQuotaExceeded"}
_TRANSFER = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=64 << 20, max_concurrency=4)


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Where the bucket is. Region and credentials are found as usual: ``AWS_*``, profiles, roles."""

    bucket: str
    prefix: str
    """``""``, or folders that end with a slash."""
    endpoint: str | None
    """Another server than that of AWS."""
    cache: Path
    """Folder for local copies."""

    @staticmethod
    def from_env(url: str, environ: Mapping[str, str]) -> "S3Settings":
        """From ``s3://BUCKET/FOLDERS``, FRESHLENS_S3_ENDPOINT and FRESHLENS_DATA.

        Raises:
            SettingsError: no bucket, or folders that no key may have.
        """
        env, parts = Environment(environ), urlsplit(url)
        prefix, endpoint = parts.path.strip("/"), env.text("FRESHLENS_S3_ENDPOINT")
        if not parts.netloc or parts.query or "@" in parts.netloc:
            env.problems.append("FRESHLENS_STORE must be s3://BUCKET or s3://BUCKET/FOLDER; credentials are AWS_*")
        try:
            checked_key(prefix or "none")
        except ValueError as error:
            env.problems.append(f"FRESHLENS_STORE: {error}")
        if endpoint and urlsplit(endpoint).scheme not in ("http", "https"):
            env.problems.append(f"FRESHLENS_S3_ENDPOINT={endpoint!r} must be http://HOST:PORT or https://HOST")
        env.finish()
        cache = env.data() / "cache" / parts.netloc / prefix
        return S3Settings(parts.netloc, f"{prefix}/" if prefix else "", endpoint or None, cache)


def open_s3_store(url: str, environ: Mapping[str, str]) -> "S3Store":
    """The store at ``s3://BUCKET/FOLDERS``, which was seen to create only if absent.

    Raises:
        SettingsError: it cannot, with code ``store-not-conditional``; or the bucket or the right to write is missing.
        StoreUnavailable: it does not answer; try again.
    """
    settings = S3Settings.from_env(url, environ)
    try:
        client = boto3.client("s3", endpoint_url=settings.endpoint, config=_config(settings))
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(f"object store {url}: {error}") from error
    store = S3Store(client, settings)
    store.check()
    return store


def _config(settings: S3Settings) -> Config:
    return Config(
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=16,
        # Servers other than AWS's are known by address, and know checksums in trailers rarely.
        s3={"addressing_style": "path" if settings.endpoint else "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


class S3Store:
    """An :class:`topics.store.ObjectStore` in a bucket; to be opened by :func:`open_s3_store`. Thread-safe."""

    def __init__(self, client: Any, settings: S3Settings) -> None:
        self._client, self._bucket, self._prefix = client, settings.bucket, settings.prefix
        self._copies = LocalCopies(settings.cache, self)

    def get(self, key: str) -> bytes:
        with _s3_errors(f"read {key}"):
            body: bytes = self._client.get_object(**self._at(key))["Body"].read()
        return body

    def put(self, key: str, data: bytes) -> None:
        with _s3_errors(f"write {key}"):
            self._client.put_object(**self._at(key), Body=data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        place = self._at(key)
        with _s3_errors(f"create {key}"):
            return self._created(place, data)

    def put_file(self, key: str, source: Path) -> None:
        with _s3_errors(f"write {key}"), source.open("rb") as file:
            self._client.upload_fileobj(file, **self._at(key), Config=_TRANSFER)

    def exists(self, key: str) -> bool:
        try:
            with _s3_errors(f"look for {key}"):
                self._client.head_object(**self._at(key))
        except FileNotFoundError:
            return False
        return True

    def list(self, prefix: str = "") -> list[str]:
        return sorted(self.sizes(prefix))

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Key → bytes of everything below the folder."""
        below = self._below(folder)
        with _s3_errors(f"list {below}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=below)
            objects = [each for page in pages for each in page.get("Contents", ())]
        found = {each["Key"].removeprefix(self._prefix): each["Size"] for each in objects}
        return {key: size for key, size in found.items() if key != _PROBE and not key.endswith("/")}

    def delete(self, key: str) -> None:
        with _s3_errors(f"delete {key}"):
            self._client.delete_object(**self._at(key))

    def sweep(self, prefix: str, unchanged_s: float) -> None:
        below, before_s = self._below(prefix), time.time() - unchanged_s
        with _s3_errors(f"list uploads to {below}"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=below)
            uploads = [each for page in pages for each in page.get("Uploads", ())]
        for upload in uploads:
            if upload["Initiated"].timestamp() < before_s:
                self._abort(upload["Key"], upload["UploadId"])

    def _abort(self, key: str, upload: str) -> None:
        # Another process may have been faster.
        with suppress(FileNotFoundError), _s3_errors(f"abort an upload to {key}"):
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload)

    def local_folder(self, key: str, check: Callable[[Path], None]) -> Path:
        return self._copies.folder(checked_key(key), check)

    def fetch(self, key: str, target: Path) -> None:
        """Write one object to a new local file, durably."""
        with _s3_errors(f"read {key}"), naming_disk_full(target), target.open("xb") as file:
            self._client.download_fileobj(**self._at(key), Fileobj=file, Config=_TRANSFER)
            file.flush()
            sync_file(file.fileno())

    def check(self) -> None:
        """Do nothing if the bucket can be written and refuses to create what exists; raises as open_s3_store."""
        place = {"Bucket": self._bucket, "Key": f"{self._prefix}{_PROBE}"}
        name = f"object store s3://{self._bucket}/{self._prefix}"
        try:
            # The first object may be one of an earlier start; the second is refused, or nothing ever is.
            is_conditional = not (self._created(place, b"") and self._created(place, b""))
        except ClientError as error:
            if _code(error) != "NotImplemented":
                raise _at_open(error, name) from error
            is_conditional = False
        except BotoCoreError as error:
            raise _at_open(error, name) from error
        if not is_conditional:
            raise SettingsError(
                f"{name} overwrites what was to be created only if absent (If-None-Match): two compactors would both "
                "publish; use a store that has conditional writes",
                code="store-not-conditional",
            )

    def _created(self, place: dict[str, str], data: bytes) -> bool:
        """Whether this call created the object; raises ClientError and BotoCoreError."""
        writer = uuid.uuid4().hex
        for _ in range(_CONFLICTS_MAX):
            try:
                self._client.put_object(**place, Body=data, IfNoneMatch="*", Metadata={_WRITER: writer})
                return True
            except ClientError as error:
                conflict = error
                if _code(error) != "ConditionalRequestConflict":
                    break
        if _status(conflict) != 412:
            raise conflict
        # The client repeats a request whose answer was lost; then it is our own object that is in the way.
        return self._writer_of(place) == writer

    def _writer_of(self, place: dict[str, str]) -> str | None:
        found = self._client.head_object(**place)
        writer: str | None = found.get("Metadata", {}).get(_WRITER)
        return writer

    def _below(self, folder: str) -> str:
        return f"{self._prefix}{checked_key(folder.rstrip('/'))}/" if folder else self._prefix

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}{checked_key(key)}"}


@contextmanager
def _s3_errors(doing: str) -> Iterator[None]:
    """Translate: what is missing is FileNotFoundError, everything else may work later.

    Credentials that ran out are no reason to give up what is in hand, so they only end a start.
    """
    try:
        yield
    except ClientError as error:
        if _status(error) == 404 and _code(error) != "NoSuchBucket":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), doing) from error
        if _code(error) in _FULL or _status(error) == 507:
            raise DiskFull(f"the object store has no room to {doing}: enlarge it, or its quota") from error
        raise StoreUnavailable(f"the object store cannot {doing}: {error}") from error
    except (BotoCoreError, RetriesExceededError) as error:
        raise StoreUnavailable(f"the object store cannot {doing}: {error}") from error


def _at_open(error: ClientError | BotoCoreError, name: str) -> SettingsError | StoreUnavailable:
    """What a refusal means before anything has worked: settings, unless the server is not there or not well."""
    is_refused = 300 <= _status(error) < 500 and _status(error) != 429 if isinstance(error, ClientError) else False
    is_local = type(error).__name__ in _OUR_SETTINGS
    if is_refused or is_local:
        return SettingsError(f"{name}: {error}; check the bucket, FRESHLENS_S3_ENDPOINT and AWS_ACCESS_KEY_ID")
    return StoreUnavailable(f"{name}: {error}")


_OUR_SETTINGS = {
    "CredentialRetrievalError", "InvalidEndpointConfigurationError", "NoCredentialsError", "NoRegionError",
    "ParamValidationError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError",
}  # fmt: skip


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
