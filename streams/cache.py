"""The embedding cache: what was embedded once is not embedded again. A hint, never truth (HOLES 29)."""

import shutil
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import structlog
from rocksdict import BlockBasedOptions, DBCompactionStyle, FifoCompactOptions, Options, Rdict

from processors.fetching.policy import Validators
from schemas.metrics import Metrics

CACHE_BYTES_MAX = 4 * 1024**3
"""Five million pictures of 256 dimensions."""
_FORMAT = "fifo-1"
_CHECKSUM_BYTES = 8
_BUFFER_BYTES_MAX = 32 * 1024 * 1024
_REPORT_EVERY = 256
_log = structlog.get_logger()


class CachedView(msgspec.Struct, frozen=True):
    """A picture's vector (dim little-endian float16), perceptual hash, and what the quality gate found."""

    vector: bytes
    phash: bytes
    flags: tuple[str, ...] = ()


class CachedFrame(msgspec.Struct, frozen=True):
    """A key frame of a video: ``content_hash`` is that of the frame as a JPEG, as it lies in the store."""

    content_hash: bytes
    timestamp_ms: int
    view: CachedView


class EmbeddingCache:
    """One RocksDB folder, of one process, that forgets what was written first when it is full.

    A broken database is made anew; any other error (no space, a folder that another process has) turns the cache off
    for the life of the process. Both are counted.

    Args:
        folder: created if need be.
        variant: everything besides the picture that a vector depends on: encoder and decode version.
        vector_bytes: length of this lane's vectors; anything else in the cache is passed over.
        store: where thumbnails and originals go; of what another store has, nothing is taken to be in this one.
        bytes_max: of its files.
    """

    def __init__(
        self,
        folder: Path,
        variant: str,
        vector_bytes: int,
        metrics: Metrics,
        *,
        store: str = "",
        bytes_max: int = CACHE_BYTES_MAX,
    ) -> None:
        self._folder = folder / _FORMAT
        self._variant = blake2b(variant.encode(), digest_size=8).digest()
        self._store = blake2b(store.encode(), digest_size=8).digest()
        self._vector_bytes, self._bytes_max = vector_bytes, bytes_max
        self._metrics = metrics
        self._puts = 0
        self._database: Any = None
        try:
            self._database = self._opened()
        except Exception as error:  # rocksdict raises Exception itself
            self._failed(error)

    def view(self, content_hash: bytes, *, asks_again: bool = False) -> CachedView | None:
        """The view of a picture, if it is known and intact; a miss of one who ``asks_again`` is not counted."""
        raw = self._get(b"v" + self._variant + content_hash)
        try:
            found = msgspec.msgpack.decode(raw, type=CachedView) if raw else None
        except msgspec.DecodeError:
            found = None
        if found is not None and len(found.vector) != self._vector_bytes:
            found = None
        if found is not None or not asks_again:
            self._metrics.count("freshlens_embedding_cache_total", result="miss" if found is None else "hit")
        return found

    def has_view(self, content_hash: bytes) -> bool:
        """Whether :meth:`view` would find something; not counted as a look-up."""
        return self._get(b"v" + self._variant + content_hash) is not None

    def keep_view(self, content_hash: bytes, view: CachedView) -> None:
        self._put(b"v" + self._variant + content_hash, msgspec.msgpack.encode(view))

    def frames(self, video_hash: bytes, frames_max: int) -> tuple[CachedFrame, ...] | None:
        """The key frames of a video, if they are known and intact."""
        raw = self._get(b"f" + self._variant + bytes([frames_max]) + video_hash)
        try:
            found = msgspec.msgpack.decode(raw, type=tuple[CachedFrame, ...]) if raw else None
        except msgspec.DecodeError:
            return None
        return found if found and all(len(each.view.vector) == self._vector_bytes for each in found) else None

    def keep_frames(self, video_hash: bytes, frames_max: int, frames: tuple[CachedFrame, ...]) -> None:
        self._put(b"f" + self._variant + bytes([frames_max]) + video_hash, msgspec.msgpack.encode(frames))

    def has_thumbnails(self, tenant: str, content_hash: bytes) -> bool:
        """Whether this picture's thumbnails were made for this tenant."""
        return self._get(b"t" + self._store + content_hash + tenant.encode()) is not None

    def keep_thumbnails(self, tenant: str, content_hash: bytes) -> None:
        self._put(b"t" + self._store + content_hash + tenant.encode(), b"")

    def content_of(self, uri: str) -> Validators | None:
        """What this URI led to the last time."""
        raw = self._get(b"u" + blake2b(uri.encode(errors="surrogatepass"), digest_size=16).digest())
        try:
            return msgspec.msgpack.decode(raw, type=Validators) if raw else None
        except msgspec.DecodeError:
            return None

    def keep_content_of(self, uri: str, validators: Validators) -> None:
        key = b"u" + blake2b(uri.encode(errors="surrogatepass"), digest_size=16).digest()
        self._put(key, msgspec.msgpack.encode(validators))

    def close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with suppress(Exception):  # what RocksDB finds broken at its end is found at the next start as well
                database.close()

    def _get(self, key: bytes) -> bytes | None:
        if self._database is None:
            return None
        try:
            raw: bytes | None = self._database.get(key)
        except Exception as error:
            self._failed(error)
            return None
        if raw is None or raw[:_CHECKSUM_BYTES] != _checksum(key, raw[_CHECKSUM_BYTES:]):
            return None
        return raw[_CHECKSUM_BYTES:]

    def _put(self, key: bytes, value: bytes) -> None:
        if self._database is None:
            return
        try:
            self._database[key] = _checksum(key, value) + value
            if self._puts % _REPORT_EVERY == 0:
                held = sum(self._database.property_int_value(name) or 0 for name in _HELD)
                self._metrics.gauge("freshlens_embedding_cache_bytes", held)
            self._puts += 1
        except Exception as error:
            self._failed(error)

    def _opened(self) -> Any:
        self._folder.mkdir(parents=True, exist_ok=True)
        return Rdict(str(self._folder), _options(self._bytes_max))

    def _failed(self, error: Exception) -> None:
        self._metrics.count("freshlens_embedding_cache_total", result="error")
        self.close()
        if any(sign in str(error) for sign in ("Corruption", "No such file")):
            try:
                shutil.rmtree(self._folder)
                self._database = self._opened()
            except Exception as again:
                error = again
            else:
                _log.warning("the embedding cache was broken and begins anew", reason=str(error))
                return
        _log.warning("the embedding cache is turned off: pictures are embedded anew", reason=str(error))


_HELD = ("rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables")


def _options(bytes_max: int) -> Options:
    options, oldest_first, tables = Options(raw_mode=True), FifoCompactOptions(), BlockBasedOptions()
    oldest_first.max_table_files_size = bytes_max
    options.set_compaction_style(DBCompactionStyle.fifo())
    options.set_fifo_compaction_options(oldest_first)
    # One file of many goes when the cache is full; each is asked in turn, so each says first what it has not.
    options.set_write_buffer_size(min(_BUFFER_BYTES_MAX, max(64 * 1024, bytes_max // 16)))
    tables.set_bloom_filter(10, False)
    options.set_block_based_table_factory(tables)
    options.set_keep_log_file_num(2)
    return options


def _checksum(key: bytes, value: bytes) -> bytes:
    # The key is part of it, so that a value under another key is no hit.
    return blake2b(key + value, digest_size=_CHECKSUM_BYTES).digest()
