"""The cache is a hint: what is broken in it is a miss, and an error turns it off."""

import os
from pathlib import Path

import pytest
from rocksdict import Options, Rdict

from processors.fetching.policy import Validators
from schemas.metrics import RecordingMetrics
from streams.cache import CachedView, EmbeddingCache

VIEW = CachedView(b"12345678", b"phash...")
HASH = b"h" * 16


def opened(folder: Path, metrics: RecordingMetrics, variant: str = "model/1", vector_bytes: int = 8) -> EmbeddingCache:
    return EmbeddingCache(folder, variant, vector_bytes, metrics)


def files(folder: Path, pattern: str) -> list[Path]:
    found = list(folder.rglob(pattern))
    assert found
    return found


def test_it_remembers_over_a_restart_and_tells_models_apart(tmp_path: Path) -> None:
    cache = opened(tmp_path, RecordingMetrics())
    assert cache.view(HASH) is None
    cache.keep_view(HASH, VIEW)
    cache.keep_thumbnails("shop", HASH)
    cache.keep_content_of("https://x/1.jpg", Validators(content_hash=HASH))
    cache.close()
    again = opened(tmp_path, RecordingMetrics())
    assert again.view(HASH) == VIEW
    assert again.has_thumbnails("shop", HASH)
    assert not again.has_thumbnails("other", HASH)
    assert again.content_of("https://x/1.jpg") == Validators(content_hash=HASH)
    assert again.content_of("https://x/2.jpg") is None
    again.close()
    other = opened(tmp_path, RecordingMetrics(), variant="model/2")
    assert other.view(HASH) is None
    other.close()
    longer = opened(tmp_path, RecordingMetrics(), vector_bytes=16)
    assert longer.view(HASH) is None
    longer.close()


def test_a_flipped_bit_is_a_miss(tmp_path: Path) -> None:
    cache = opened(tmp_path, RecordingMetrics())
    cache.keep_view(HASH, VIEW)
    cache.close()
    database = Rdict(str(files(tmp_path, "CURRENT")[0].parent), Options(raw_mode=True))
    for key, value in list(database.items()):
        database[key] = value[:-1] + bytes([value[-1] ^ 1])
    database.close()
    again = opened(tmp_path, RecordingMetrics())
    assert again.view(HASH) is None
    again.close()


def test_an_error_turns_it_off_and_is_counted(tmp_path: Path) -> None:
    first, metrics = opened(tmp_path, RecordingMetrics()), RecordingMetrics()
    second = opened(tmp_path, metrics)  # the folder is taken: RocksDB is of one process
    assert metrics.values["freshlens_embedding_cache_total", (("result", "error"),)] == 1
    second.keep_view(HASH, VIEW)
    assert second.view(HASH) is None
    second.close()
    first.close()


def number(value: int) -> bytes:
    return value.to_bytes(16, "big")


def test_when_it_is_full_the_oldest_goes_first(tmp_path: Path) -> None:
    metrics = RecordingMetrics()
    cache = EmbeddingCache(tmp_path, "model/1", 1024, metrics, bytes_max=2_000_000)
    view = CachedView(bytes(range(256)) * 4, b"phash...")
    for value in range(10_000):
        cache.keep_view(number(value), CachedView(os.urandom(1024), b"phash..."))
    cache.keep_view(number(10_000), view)
    assert cache.view(number(10_000)) == view
    assert cache.view(number(0)) is None
    known = [value for value in range(10_000) if cache.has_view(number(value))]
    assert 200 < len(known) < 4_000
    assert known[0] > 5_000
    assert 0 < metrics.values["freshlens_embedding_cache_bytes", ()] < 4_000_000
    cache.close()
    assert sum(path.stat().st_size for path in files(tmp_path, "*.sst")) < 4_000_000


@pytest.mark.parametrize("pattern", ["MANIFEST*", "*.sst", "CURRENT"])
def test_a_broken_database_begins_anew(tmp_path: Path, pattern: str) -> None:
    cache = EmbeddingCache(tmp_path, "model/1", 8, RecordingMetrics(), bytes_max=1_000_000)
    for value in range(2_000):
        cache.keep_view(number(value), VIEW)
    cache.close()
    for path in files(tmp_path, pattern):
        path.write_bytes(bytes(byte ^ 0x5A for byte in path.read_bytes()))
    metrics = RecordingMetrics()
    again = opened(tmp_path, metrics)
    assert metrics.values["freshlens_embedding_cache_total", (("result", "error"),)] == 1
    assert again.view(number(0)) is None
    again.keep_view(HASH, VIEW)
    assert again.view(HASH) == VIEW
    again.close()
