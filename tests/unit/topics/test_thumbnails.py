"""The thumbnails of a picture in a store."""

from pathlib import Path

import pytest

from topics.store import FileStore
from topics.thumbnails import get_thumbnail, put_thumbnails

HASH = "ab" * 16


def test_each_size_is_read_as_it_was_written_and_only_by_its_tenant(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    put_thumbnails(store, "shop", HASH, {96: b"small", 256: b"large"})
    assert [get_thumbnail(store, "shop", HASH, size) for size in (96, 256)] == [b"small", b"large"]
    assert len(store.list()) == 1
    for tenant, content_hash, size in (("shop", HASH, 512), ("other", HASH, 96), ("shop", "cd" * 16, 96)):
        with pytest.raises(FileNotFoundError):
            get_thumbnail(store, tenant, content_hash, size)
    with pytest.raises(ValueError, match="hash"):
        get_thumbnail(store, "shop", "../x", 96)
