"""Embeddings as Parquet: what a back-fill embedded once it never embeds again, and analysts can read it.

Parts are only ever added, each under a name of its own and whole; one that is damaged is passed over. Between two
parts a journal on the local disk keeps what is not in one yet, so that a killed back-fill loses nothing.
"""

import io
import uuid
import zlib
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from schemas.errors import StoreUnavailable
from schemas.metrics import Metrics
from streams.cache import CachedView, EmbeddingCache
from topics.store import ObjectStore

PART_ROWS = 4_096
CACHE_BYTES_MAX = 64 * 1024**3
"""Of a local copy of the parts: what falls out of it is embedded anew when its product is loaded once more."""
_CRC_BYTES = 4
_log = structlog.get_logger()


class Made(NamedTuple):
    """By what a vector was made: another encoder or decode version, another vector."""

    encoder_id: str
    decode_version: int
    space: str
    dim: int


class Embedding(msgspec.Struct, frozen=True, array_like=True):
    """One picture or text: hash of its bytes, and what the embedding cache knows of it."""

    content_hash: bytes
    view: CachedView


class EmbeddingParts:
    """The parts of one encoder in a store, and what waits to become one.

    Args:
        store: where the parts are; what else lies there is left alone.
        folder: a local one of this process's own; those of others may lie beside it.
    """

    def __init__(self, store: ObjectStore, folder: Path, made: Made) -> None:
        self._store, self._made = store, made
        self._start = f"{made.encoder_id[:12]}-{made.decode_version}-"
        self._path = folder / f"{self._start}pending"
        self._pending = self._path.open("a+b")
        self._pending.seek(0)
        self._waiting, intact = _intact(self._pending.read())
        # What a crash cut short would hide what comes behind it.
        self._pending.truncate(intact)

    def add(self, embedding: Embedding) -> None:
        """Keep it; once this returns, no end of the process loses it."""
        raw = msgspec.msgpack.encode(embedding)
        self._pending.write(len(raw).to_bytes(4, "little") + zlib.crc32(raw).to_bytes(_CRC_BYTES, "little") + raw)
        self._pending.flush()
        self._waiting.append(embedding)
        if len(self._waiting) >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits as a part; where the store is away it goes on waiting."""
        if not self._waiting:
            return
        name = f"{self._start}{uuid.uuid4().hex}.parquet"
        try:
            self._store.put(name, part_of(self._waiting, self._made))
        except (OSError, StoreUnavailable) as error:
            _log.warning("embeddings wait for their store", reason=str(error))
            return
        self._waiting = []
        self._pending.truncate(0)

    def waiting(self) -> list[Embedding]:
        """What is in no part yet."""
        return list(self._waiting)

    def waiting_beside(self) -> list[Embedding]:
        """What is in no part yet of those who work in the folders beside, or were killed there."""
        folder = self._path.parent
        beside = (path for path in folder.parent.glob(f"*/{self._path.name}") if path.parent != folder)
        return [embedding for path in beside for embedding in _intact(path.read_bytes())[0]]

    def names(self) -> list[str]:
        """The parts that may be of this encoder."""
        return [name for name in self._store.list() if name.startswith(self._start)]

    def read(self, name: str) -> list[Embedding]:
        """The intact embeddings of a part, of this encoder."""
        try:
            return embeddings_of(self._store.get(name), self._made)
        except (OSError, StoreUnavailable, pa.ArrowException, KeyError, ValueError, TypeError) as error:
            _log.warning("a part of the embeddings is passed over", part=name, reason=str(error))
            return []

    def close(self) -> None:
        self.flush()
        self._pending.close()


class StoredViews(EmbeddingCache):
    """An embedding cache that knows what the parts know, and adds to them whatever is embedded.

    Args:
        folder: of this process's own.
    """

    def __init__(self, folder: Path, variant: str, parts: EmbeddingParts, dim: int, metrics: Metrics) -> None:
        super().__init__(folder / "cache", variant, 2 * dim, metrics, bytes_max=CACHE_BYTES_MAX)
        self._parts = parts
        # Before the parts, or what becomes one meanwhile would be in neither.
        for embedding in (*parts.waiting(), *parts.waiting_beside()):
            self._know(embedding)
        self._learn(folder / "parts.txt")

    def keep_view(self, content_hash: bytes, view: CachedView) -> None:
        super().keep_view(content_hash, view)
        self._parts.add(Embedding(content_hash, view))

    def flush(self) -> None:
        """Write what waits as a part."""
        self._parts.flush()

    def close(self) -> None:
        self._parts.close()
        super().close()

    def _learn(self, learnt: Path) -> None:
        """Take in the parts that this folder has not seen yet."""
        known = set(learnt.read_text().split()) if learnt.exists() else set()
        with learnt.open("a") as names:
            for name in self._parts.names():
                if name not in known and (found := self._parts.read(name)):
                    for embedding in found:
                        self._know(embedding)
                    names.write(f"{name}\n")

    def _know(self, embedding: Embedding) -> None:
        super().keep_view(embedding.content_hash, embedding.view)


def part_of(embeddings: list[Embedding], made: Made) -> bytes:
    """The bytes of a part: hash, vector as float32, perceptual hash, quality flags, and by what they were made."""
    vectors = np.frombuffer(b"".join(each.view.vector for each in embeddings), "<f2").astype(np.float32)
    count = len(embeddings)
    columns = {
        "content_hash": pa.array([each.content_hash for each in embeddings], pa.binary()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors), made.dim),
        "phash": pa.array([each.view.phash for each in embeddings], pa.binary()),
        "flags": pa.array([list(each.view.flags) for each in embeddings], pa.list_(pa.string())),
        "encoder": pa.array([made.encoder_id] * count, pa.string()),
        "space": pa.array([made.space] * count, pa.string()),
        "decode_version": pa.array([made.decode_version] * count, pa.int32()),
        "checksum": pa.array([_checksum(each, made) for each in embeddings], pa.uint32()),
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def embeddings_of(raw: bytes, made: Made) -> list[Embedding]:
    """The intact rows of a part that were made by the same; Parquet's own checksums do not cover everything.

    Raises:
        pyarrow.ArrowException, OSError, KeyError, ValueError, TypeError: it is damaged.
    """
    table = pq.read_table(io.BytesIO(raw), page_checksum_verification=True)
    vectors = np.concatenate([chunk.flatten().to_numpy() for chunk in table["vector"].chunks])
    rows = vectors.reshape(-1, made.dim).astype("<f2")
    columns = (table[name].to_pylist() for name in ("content_hash", "phash", "flags", "checksum"))
    found = (
        (Embedding(key, CachedView(row.tobytes(), phash, tuple(flags))), checksum)
        for row, key, phash, flags, checksum in zip(rows, *columns, strict=True)
    )
    return [embedding for embedding, checksum in found if _checksum(embedding, made) == checksum]


def _checksum(embedding: Embedding, made: Made) -> int:
    return zlib.crc32(msgspec.msgpack.encode((embedding, made)))


def _intact(raw: bytes) -> tuple[list[Embedding], int]:
    """The entries of a journal up to the first one that a crash cut short, and where they end."""
    found: list[Embedding] = []
    position = 0
    while position + 4 + _CRC_BYTES <= len(raw):
        size = int.from_bytes(raw[position : position + 4], "little")
        start = position + 4 + _CRC_BYTES
        entry = raw[start : start + size]
        if len(entry) < size or zlib.crc32(entry) != int.from_bytes(raw[position + 4 : start], "little"):
            break
        found.append(msgspec.msgpack.decode(entry, type=Embedding))
        position = start + size
    return found, position
