"""The embedding cache: what was embedded once is not embedded again. A hint, never truth (HOLES 29)."""

from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import structlog
from rocksdict import Options, Rdict

from schemas.metrics import Metrics

_CHECKSUM_BYTES = 8
_log = structlog.get_logger()


class CachedView(msgspec.Struct, frozen=True):
    """A picture's vector (dim little-endian float16) and perceptual hash."""

    vector: bytes
    phash: bytes


class EmbeddingCache:
    """One RocksDB folder, of one process. Any error turns it off for the life of the process, and is counted.

    Args:
        folder: created if need be.
        variant: everything besides the picture that a vector depends on: encoder and decode version.
        vector_bytes: length of this lane's vectors; anything else in the cache is passed over.
    """

    def __init__(self, folder: Path, variant: str, vector_bytes: int, metrics: Metrics) -> None:
        self._variant = blake2b(variant.encode(), digest_size=8).digest()
        self._vector_bytes = vector_bytes
        self._metrics = metrics
        self._database: Any = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = Rdict(str(folder), Options(raw_mode=True))
        except Exception as error:  # rocksdict raises Exception itself
            self._turn_off(error)

    def view(self, content_hash: bytes) -> CachedView | None:
        """The view of a picture, if it is known and intact."""
        raw = self._get(b"v" + self._variant + content_hash)
        try:
            found = msgspec.msgpack.decode(raw, type=CachedView) if raw else None
        except msgspec.DecodeError:
            found = None
        if found is None or len(found.vector) != self._vector_bytes:
            self._metrics.count("freshlens_embedding_cache_total", result="miss")
            return None
        self._metrics.count("freshlens_embedding_cache_total", result="hit")
        return found

    def keep_view(self, content_hash: bytes, view: CachedView) -> None:
        self._put(b"v" + self._variant + content_hash, msgspec.msgpack.encode(view))

    def has_thumbnails(self, tenant: str, content_hash: bytes) -> bool:
        """Whether this picture's thumbnails were made for this tenant."""
        return self._get(b"t" + content_hash + tenant.encode()) is not None

    def keep_thumbnails(self, tenant: str, content_hash: bytes) -> None:
        self._put(b"t" + content_hash + tenant.encode(), b"")

    def content_of(self, uri: str) -> bytes | None:
        """Content hash of what this URI led to the last time."""
        return self._get(b"u" + blake2b(uri.encode(), digest_size=16).digest())

    def keep_content_of(self, uri: str, content_hash: bytes) -> None:
        self._put(b"u" + blake2b(uri.encode(), digest_size=16).digest(), content_hash)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _get(self, key: bytes) -> bytes | None:
        if self._database is None:
            return None
        try:
            raw: bytes | None = self._database.get(key)
        except Exception as error:
            self._turn_off(error)
            return None
        if raw is None or raw[:_CHECKSUM_BYTES] != _checksum(key, raw[_CHECKSUM_BYTES:]):
            return None
        return raw[_CHECKSUM_BYTES:]

    def _put(self, key: bytes, value: bytes) -> None:
        if self._database is None:
            return
        try:
            self._database[key] = _checksum(key, value) + value
        except Exception as error:
            self._turn_off(error)

    def _turn_off(self, error: Exception) -> None:
        self._database = None
        self._metrics.count("freshlens_embedding_cache_total", result="error")
        _log.warning("the embedding cache is turned off: pictures are embedded anew", reason=str(error))


def _checksum(key: bytes, value: bytes) -> bytes:
    # The key is part of it, so that a value under another key is no hit.
    return blake2b(key + value, digest_size=_CHECKSUM_BYTES).digest()
