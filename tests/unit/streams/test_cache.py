"""The cache is a hint: what is broken in it is a miss, and an error turns it off."""

from pathlib import Path

from rocksdict import Options, Rdict

from schemas.metrics import RecordingMetrics
from streams.cache import CachedView, EmbeddingCache

VIEW = CachedView(b"12345678", b"phash...")
HASH = b"h" * 16


def opened(folder: Path, metrics: RecordingMetrics, variant: str = "model/1", vector_bytes: int = 8) -> EmbeddingCache:
    return EmbeddingCache(folder, variant, vector_bytes, metrics)


def test_it_remembers_over_a_restart_and_tells_models_apart(tmp_path: Path) -> None:
    cache = opened(tmp_path, RecordingMetrics())
    assert cache.view(HASH) is None
    cache.keep_view(HASH, VIEW)
    cache.keep_thumbnails("shop", HASH)
    cache.keep_content_of("https://x/1.jpg", HASH)
    cache.close()
    again = opened(tmp_path, RecordingMetrics())
    assert again.view(HASH) == VIEW
    assert again.has_thumbnails("shop", HASH)
    assert not again.has_thumbnails("other", HASH)
    assert again.content_of("https://x/1.jpg") == HASH
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
    database = Rdict(str(tmp_path), Options(raw_mode=True))
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
