import os
import threading

import pytest

from schemas.errors import InvalidProduct, SettingsError
from topics.store import FileStore, open_store, original_key, thumbnail_key

HASH = "ab" * 16


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "store")


def test_what_was_put_is_got_and_listed_and_deleted(store):
    store.put("a/b/one", b"1")
    store.put("a/b/one", b"2")
    store.put("a/two", b"3")
    assert store.get("a/b/one") == b"2"
    assert store.list() == ["a/b/one", "a/two"]
    assert store.list("a/b/") == store.list("a/b") == ["a/b/one"]
    assert store.list("nothing") == []
    store.delete("a/two")
    store.delete("a/two")
    assert not store.exists("a/two")
    assert store.exists("a/b/one")
    with pytest.raises(FileNotFoundError):
        store.get("a/two")


def test_of_many_racing_creators_exactly_one_wins_and_its_bytes_stay(store):
    for round_ in range(20):
        key, won, start = f"heads/{round_}.json", [], threading.Barrier(8)

        def create(number, key=key, won=won, start=start):
            start.wait()
            if store.put_if_absent(key, f"writer {number}".encode() * 100):
                won.append(number)

        threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert store.get(key) == f"writer {won[0]}".encode() * 100
    assert len(store.list("heads")) == 20


def test_a_crash_before_the_commit_leaves_no_key_and_no_obstacle(store, monkeypatch):
    def crash(*_args, **_kwargs):
        raise OSError("no power")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", crash)
        with pytest.raises(OSError, match="no power"):
            store.put_if_absent("heads/1.json", b"x")
    assert not store.exists("heads/1.json")
    assert store.list() == []
    assert store.put_if_absent("heads/1.json", b"y")


def test_half_written_files_are_no_keys(store):
    store.put("a/one", b"1")
    (store.root / "a" / ".tmp-0").write_bytes(b"half")
    assert store.list() == ["a/one"]


def test_a_local_file_is_taken_over(store, tmp_path):
    source = tmp_path / "main.faiss"
    source.write_bytes(b"z" * 3_000_000)
    store.put_file("builds/0/u/main.faiss", source)
    assert store.local_path("builds/0/u/main.faiss").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/.", ".hidden", "a\\b", "a\x00b", "a/b/", "ä"]
)
def test_a_key_cannot_leave_the_store(store, key):
    for call in (store.get, store.exists, store.delete, store.local_path):
        with pytest.raises(ValueError, match="not a store key"):
            call(key)
    with pytest.raises(ValueError, match="not a store key"):
        store.put(key, b"")


def test_pictures_are_kept_by_hash_and_thumbnails_by_tenant():
    assert original_key(HASH) == f"originals/ab/{HASH}"
    assert thumbnail_key("shop", HASH, 256) == f"thumbnails/shop/ab/{HASH}-256"
    with pytest.raises(ValueError, match="hash"):
        original_key("../x")
    with pytest.raises(InvalidProduct):
        thumbnail_key("../x", HASH, 256)


def test_a_store_is_opened_by_url_or_path(tmp_path):
    for url in (f"file://{tmp_path}/a%20b", str(tmp_path / "a b")):
        store = open_store(url)
        store.put("k", b"v")
        assert (tmp_path / "a b" / "k").read_bytes() == b"v"


@pytest.mark.parametrize("url", ["s3://bucket/x", "ftp://host/x", "file://host/x", ""])
def test_a_store_that_cannot_create_if_absent_is_refused(url):
    with pytest.raises(SettingsError, match="create-if-absent"):
        open_store(url)
