"""What every object store promises."""

import os
import threading
from pathlib import Path

import pytest

from schemas.errors import ChecksumMismatch
from topics.store import ObjectStore

CREATORS, ROUNDS = 8, 10


def test_what_was_put_is_got_and_listed_and_deleted(store: ObjectStore) -> None:
    store.put("a/b/one", b"1")
    store.put("a/b/one", b"2")
    store.put("a/two", b"")
    store.put("ab/three", b"3")
    assert store.get("a/b/one") == b"2"
    assert store.get("a/two") == b""
    assert store.list() == ["a/b/one", "a/two", "ab/three"]
    assert store.list("a") == store.list("a/") == ["a/b/one", "a/two"], "and not what only begins with these letters"
    assert store.list("nothing") == []
    store.delete("a/two")
    store.delete("a/two")
    assert not store.exists("a/two")
    assert not store.exists("a/b"), "a folder is no key"
    assert store.exists("a/b/one")
    for key in ("a/two", "a/b", "never"):
        with pytest.raises(OSError, match=r"No such file|Is a directory"):
            store.get(key)
    with pytest.raises(FileNotFoundError):
        store.get("a/two")


def test_of_many_racing_creators_exactly_one_wins_and_its_bytes_stay(store: ObjectStore) -> None:
    for round_ in range(ROUNDS):
        key, start = f"heads/{round_}.json", threading.Barrier(CREATORS)
        won: list[int] = []

        def create(number: int, key: str = key, start: threading.Barrier = start, won: list[int] = won) -> None:
            start.wait()
            if store.put_if_absent(key, f"writer {number}".encode() * 100):
                won.append(number)

        threads = [threading.Thread(target=create, args=(number,)) for number in range(CREATORS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert store.get(key) == f"writer {won[0]}".encode() * 100
    assert len(store.list("heads")) == ROUNDS


def test_equal_bytes_are_created_once_too(store: ObjectStore) -> None:
    assert store.put_if_absent("heads/1.json", b"same")
    assert not store.put_if_absent("heads/1.json", b"same")
    store.delete("heads/1.json")
    assert store.put_if_absent("heads/1.json", b"same")


def test_a_large_file_arrives_whole(store: ObjectStore, tmp_path: Path) -> None:
    """Larger than one part of an upload."""
    source = tmp_path / "vectors"
    block = os.urandom(1 << 20)
    with source.open("wb") as file:
        for number in range(70):
            file.write(number.to_bytes(4, "big") + block)
    store.put_file("builds/0/u/vectors", source)
    store.put_file("builds/0/u/vectors", source)

    def check(folder: Path) -> None:
        assert (folder / "vectors").read_bytes() == source.read_bytes()

    store.local_folder("builds/0/u", check)


def test_a_local_folder_was_checked(store: ObjectStore) -> None:
    store.put("builds/0/u/a", b"a")
    store.put("builds/0/u/b/c", b"c")
    store.put("builds/0/other/a", b"other")

    def check(folder: Path) -> None:
        assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
        if (folder / "b" / "c").read_bytes() != b"c":
            raise ChecksumMismatch("altered")

    folder = store.local_folder("builds/0/u", check)
    assert (folder / "a").read_bytes() == b"a"
    store.put("builds/0/v/b/c", b"torn")
    store.put("builds/0/v/a", b"a")
    with pytest.raises(ChecksumMismatch):
        store.local_folder("builds/0/v", check)


def test_what_a_check_asks_for_and_nobody_has_is_said_by_the_check(store: ObjectStore) -> None:
    def check(folder: Path) -> None:
        if not (folder / "a").exists():
            raise ChecksumMismatch("missing")

    with pytest.raises(ChecksumMismatch, match="missing"):
        store.local_folder("builds/0/never", check)


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/.", ".hidden", "a\\b", "a/b/", "ä"])
def test_a_key_cannot_leave_the_store(store: ObjectStore, key: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.touch()
    calls = [
        lambda: store.get(key),
        lambda: store.exists(key),
        lambda: store.delete(key),
        lambda: store.put(key, b""),
        lambda: store.put_if_absent(key, b""),
        lambda: store.put_file(key, source),
        lambda: store.local_folder(key, lambda _: None),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="not a store key"):
            call()
