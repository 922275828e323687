import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections import namedtuple

import pytest

from schemas.errors import DiskFull, InvalidProduct, SettingsError, StorageError
from topics import disk
from topics.store import FileStore, open_store, original_key, thumbnails_key

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


def test_half_written_files_are_swept_where_and_when_they_are_old(store):
    store.put("builds/0/u/x", b"whole")
    old, young, elsewhere = (store.root / name for name in ("builds/0/u/.tmp-0", "builds/0/u/.tmp-1", "a/.tmp-0"))
    for path in (old, young, elsewhere):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    for path in (old, elsewhere, store.root / "builds/0/u/x"):
        os.utime(path, (1e9, 1e9))
    store.sweep("builds/0", 86_400)
    store.sweep("never", 86_400)
    assert not old.exists()
    assert young.exists()
    assert elsewhere.exists()
    assert store.get("builds/0/u/x") == b"whole"


def test_a_local_file_is_taken_over(store, tmp_path):
    source = tmp_path / "main.faiss"
    source.write_bytes(b"z" * 3_000_000)
    store.put_file("builds/0/u/main.faiss", source)
    assert store.local_path("builds/0/u/main.faiss").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/.", ".hidden", "a\\b", "a\x00b", "a/b/", "ä"]
)
def test_a_key_cannot_leave_the_store(store, key):
    for call in (store.get, store.exists, store.delete, store.local_path, lambda key: store.local_folder(key, print)):
        with pytest.raises(ValueError, match="not a store key"):
            call(key)
    with pytest.raises(ValueError, match="not a store key"):
        store.put(key, b"")


def test_pictures_are_kept_by_hash_and_thumbnails_by_tenant():
    assert original_key(HASH) == f"originals/ab/{HASH}"
    assert thumbnails_key("shop", HASH) == f"thumbnails/shop/ab/{HASH}"
    with pytest.raises(ValueError, match="hash"):
        original_key("../x")
    with pytest.raises(InvalidProduct):
        thumbnails_key("../x", HASH)


def test_a_store_is_opened_by_url_or_path(tmp_path):
    for url in (f"file://{tmp_path}/a%20b", str(tmp_path / "a b")):
        store = open_store(url)
        store.put("k", b"v")
        assert (tmp_path / "a b" / "k").read_bytes() == b"v"


@pytest.mark.parametrize("url", ["ftp://host/x", "file://host/x", "az://bucket/x", ""])
def test_a_store_that_cannot_create_if_absent_is_refused(url):
    with pytest.raises(SettingsError, match="create-if-absent"):
        open_store(url)


WRITES = {
    "put": lambda store, source: store.put("builds/0/u/x", source.read_bytes()),
    "put_if_absent": lambda store, source: store.put_if_absent("builds/0/u/x", source.read_bytes()),
    "put_file": lambda store, source: store.put_file("builds/0/u/x", source),
}
SYNCED = ("put_if_absent", "put_file")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(b"z" * 300_000)
    return path


def everything_below(store):
    return [path for path in store.root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk_is_named_and_nothing_half_is_kept(store, tmp_path, name):
    """In a process that may write 100,000 bytes to a file, as if the disk had no more."""
    program = f"""
import resource, sys
from pathlib import Path
from schemas.errors import DiskFull
from tests.unit.topics.test_store import WRITES
from topics.store import FileStore
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    WRITES[{name!r}](FileStore(Path({str(store.root)!r})), Path({str(tmp_path / "source")!r}))
except DiskFull as error:
    sys.exit(f"{{error.code}}: {{error}}")
"""
    (tmp_path / "source").write_bytes(b"z" * 300_000)
    store.put("builds/0/u/before", b"stays")
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.startswith("disk-full: no room to write ")
    assert "make room" in ended.stderr
    assert everything_below(store) == [store.root / "builds/0/u/before"]
    WRITES[name](store, tmp_path / "source")
    assert len(store.get("builds/0/u/x")) == 300_000


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("name", SYNCED)
def test_after_a_failed_sync_the_attempt_does_not_count(store, source, monkeypatch, name, number):
    """The kernel drops the pages and says so once, so only writing anew helps."""

    def fail(descriptor):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match=r"room|Input/output") as caught:
            WRITES[name](store, source)
    assert isinstance(caught.value, DiskFull) == (number != errno.EIO)
    assert everything_below(store) == []
    assert WRITES[name](store, source) in (None, True)


@pytest.mark.parametrize("name", SYNCED)
def test_bytes_and_the_way_to_them_are_synced_before_success_is_said(store, source, monkeypatch, name):
    synced, real = [], os.fsync

    def noting(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    WRITES[name](store, source)
    root = str(store.root)
    folders = [root, f"{root}/builds", f"{root}/builds/0"]
    assert synced[:3] == folders, "each new folder is in the one above"
    assert disk.TEMPORARY in synced[3], "the bytes, before they have their name"
    assert synced[4:] == [f"{root}/builds/0/u"]


def test_a_full_disk_is_both_a_storage_error_and_an_os_error():
    assert issubclass(DiskFull, StorageError)
    assert issubclass(DiskFull, OSError)
    assert DiskFull("no room").message == "no room"


def test_room_is_asked_for_before_it_is_needed(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 30, 0, disk._RESERVE_BYTES + 1000))
    disk.check_room(tmp_path, 1000)
    with pytest.raises(DiskFull, match="make room"):
        disk.check_room(tmp_path, 1001)
