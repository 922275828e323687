"""A bucket: how it is opened, what trouble it gives, and its local copies."""

import dataclasses
import errno
import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from schemas.errors import ChecksumMismatch, DiskFull, SettingsError, StoreUnavailable, TransientError
from tests.integration.store.s3_server import (
    S3Server,
    answer_lost_once,
    refused,
    s3_environ,
    without_conditions,
)
from topics import disk, local_copies
from topics.s3_store import S3Settings, S3Store
from topics.store import open_store

Usage = namedtuple("Usage", "total used free")


def test_a_store_that_ignores_the_condition_is_refused(s3_server: S3Server, tmp_path: Path) -> None:
    url = f"s3://{s3_server.bucket()}"
    with s3_server.misbehaving(without_conditions), pytest.raises(SettingsError, match="overwrites") as caught:
        open_store(url, s3_environ(s3_server, tmp_path))
    assert caught.value.code == "store-not-conditional"
    with s3_server.misbehaving(refused("501 Not Implemented")), pytest.raises(StoreUnavailable):
        open_store(url, s3_environ(s3_server, tmp_path))
    assert open_store(url, s3_environ(s3_server, tmp_path)).list() == []
    assert open_store(url, s3_environ(s3_server, tmp_path)).list() == [], "opened again, and the probe is no key"


def test_a_bucket_that_is_not_there_or_not_ours_ends_the_start(s3_server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="bucket"):
        open_store("s3://no-such-bucket/x", s3_environ(s3_server, tmp_path))
    url = f"s3://{s3_server.bucket()}"
    with s3_server.misbehaving(refused("403 Forbidden")), pytest.raises(SettingsError, match="AWS_ACCESS_KEY_ID"):
        open_store(url, s3_environ(s3_server, tmp_path))


def test_a_server_that_does_not_answer_may_do_so_later(s3_server: S3Server, tmp_path: Path) -> None:
    url = f"s3://{s3_server.bucket()}"
    with s3_server.misbehaving(refused("503 Service Unavailable")), pytest.raises(TransientError):
        open_store(url, s3_environ(s3_server, tmp_path))
    with pytest.raises(StoreUnavailable):
        open_store(url, {**s3_environ(s3_server, tmp_path), "FRESHLENS_S3_ENDPOINT": "http://127.0.0.1:9"})


@pytest.mark.parametrize("status", ["500 Internal Server Error", "403 Forbidden", "400 Bad Request"])
def test_trouble_of_any_call_is_named_and_may_pass(
    s3_server: S3Server, s3_store: S3Store, tmp_path: Path, status: str
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    calls = [
        lambda: s3_store.get("k"),
        lambda: s3_store.put("k", b""),
        lambda: s3_store.put_if_absent("k", b""),
        lambda: s3_store.put_file("k", source),
        lambda: s3_store.exists("k"),
        lambda: s3_store.list(),
        lambda: s3_store.delete("k"),
        lambda: s3_store.sweep("k", 0),
        lambda: s3_store.local_folder("k", lambda _: None),
    ]
    with s3_server.misbehaving(refused(status)):
        for call in calls:
            with pytest.raises(StoreUnavailable):
                call()
    assert s3_store.list() == []


def test_a_store_without_room_is_said_to_be_full(s3_server: S3Server, s3_store: S3Store) -> None:
    with s3_server.misbehaving(refused("507 Insufficient Storage")), pytest.raises(DiskFull, match="enlarge"):
        s3_store.put("k", b"")


def test_who_created_an_object_knows_it_though_the_answer_was_lost(s3_server: S3Server, patient_store: S3Store) -> None:
    """Else it would drop the build that its own head names."""
    with s3_server.misbehaving(answer_lost_once()):
        assert patient_store.put_if_absent("heads/1.json", b"ours")
    assert not patient_store.put_if_absent("heads/1.json", b"ours")


def test_more_keys_than_one_page_are_listed_in_order(s3_store: S3Store, s3_server: S3Server) -> None:
    keys = sorted(f"a/{number}" for number in range(30))
    for key in keys:
        s3_store.put(key, b"")
    paginator = s3_store._client.get_paginator("list_objects_v2")
    whole = paginator.paginate
    before = len(s3_server.requests)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3_store._client, "get_paginator", lambda _: paginator)
        patch.setattr(paginator, "paginate", lambda **where: whole(**where, PaginationConfig={"PageSize": 7}))
        assert s3_store.list("a") == keys
    assert len(s3_server.requests) - before == 5


def test_uploads_that_died_are_aborted_where_and_when_they_are_old(s3_store: S3Store) -> None:
    """As far as the server tells, every one began in 2010."""
    client, bucket = s3_store._client, s3_store._bucket
    keys = ["shop/one/builds/0/u/x", "shop/one/builds/1/u/x", "shop/two/builds/0/u/x"]
    for key in keys:
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"half")

    def uploads() -> list[str]:
        return sorted(each["Key"] for each in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ()))

    s3_store.sweep("builds/0", 1e9)
    assert uploads() == keys, "it may still be at work"
    s3_store.sweep("builds/0", 86_400)
    assert uploads() == keys[1:]
    assert s3_store.list() == []


def test_an_upload_that_another_process_aborted_is_no_trouble(
    s3_store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, bucket = s3_store._client, s3_store._bucket
    upload = client.create_multipart_upload(Bucket=bucket, Key="shop/one/builds/0/u/x")["UploadId"]
    abort = client.abort_multipart_upload

    def overtaken(**where: str) -> None:
        abort(**where)
        abort(**where)

    monkeypatch.setattr(client, "abort_multipart_upload", overtaken)
    s3_store.sweep("builds/0", 86_400)
    with pytest.raises(client.exceptions.NoSuchUpload):
        client.list_parts(Bucket=bucket, Key="shop/one/builds/0/u/x", UploadId=upload)


def check_x(folder: Path) -> None:
    if not (folder / "x").is_file() or (folder / "x").read_bytes() != b"x" * 1000:
        raise ChecksumMismatch("altered: go back")


def local_files(tmp_path: Path) -> list[str]:
    root = tmp_path / "data" / "cache"
    return sorted(path.name for path in root.rglob("*") if path.is_file() or path.name.startswith(disk.TEMPORARY))


def builds_here(folder: Path) -> set[str]:
    return {path.name for path in folder.parent.iterdir()}


def test_a_copy_is_downloaded_once(s3_server: S3Server, s3_store: S3Store) -> None:
    s3_store.put("builds/0/u/x", b"x" * 1000)
    folder = s3_store.local_folder("builds/0/u", check_x)
    s3_server.requests.clear()
    assert s3_store.local_folder("builds/0/u", check_x) == folder
    assert s3_server.requests == []


def test_a_damaged_copy_is_downloaded_again(s3_store: S3Store) -> None:
    s3_store.put("builds/0/u/x", b"x" * 1000)
    folder = s3_store.local_folder("builds/0/u", check_x)
    with (folder / "x").open("rb") as mapped:
        (folder / "x").write_bytes(b"y" * 1000)
        assert s3_store.local_folder("builds/0/u", check_x) == folder
        assert (folder / "x").read_bytes() == b"x" * 1000
        assert len(mapped.read()) == 1000, "what somebody has open was unlinked, not truncated"


def test_a_torn_upload_is_refused_and_not_kept(s3_store: S3Store, tmp_path: Path) -> None:
    s3_store.put("builds/0/u/x", b"x" * 999)
    with pytest.raises(ChecksumMismatch):
        s3_store.local_folder("builds/0/u", check_x)
    assert local_files(tmp_path) == []
    s3_store.put("builds/0/u/x", b"x" * 1000)
    assert s3_store.local_folder("builds/0/u", check_x)


def test_the_newest_two_copies_are_kept(s3_store: S3Store) -> None:
    for number in range(4):
        s3_store.put(f"builds/0/{number}/x", b"x" * 1000)
    s3_store.put("builds/1/other/x", b"x" * 1000)
    other = s3_store.local_folder("builds/1/other", check_x)
    folders = [s3_store.local_folder(f"builds/0/{number}", check_x) for number in range(3)]
    assert builds_here(folders[2]) == {"0", "1", "2"}, "somebody may be opening one of them just now"
    for age, folder in enumerate(reversed(folders)):
        os.utime(folder, (1e9 - age, 1e9 - age))
    s3_store.local_folder("builds/0/1", check_x)  # looked at last, so the others go
    assert builds_here(s3_store.local_folder("builds/0/3", check_x)) == {"1", "3"}
    assert other.is_dir(), "another shard has its own"


def test_another_process_may_be_faster(s3_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    s3_store.put("builds/0/u/x", b"x" * 1000)
    fetch = s3_store.fetch

    def overtaken(key: str, target: Path) -> None:
        monkeypatch.setattr(s3_store, "fetch", fetch)
        s3_store.local_folder("builds/0/u", check_x)
        fetch(key, target)

    monkeypatch.setattr(s3_store, "fetch", overtaken)
    folder = s3_store.local_folder("builds/0/u", check_x)
    check_x(folder)
    assert [path.name for path in folder.parents[2].iterdir()] == ["builds"]


def test_no_download_begins_without_room(
    s3_store: S3Store, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_store.put("builds/0/u/x", b"x" * 1000)
    free = disk._RESERVE_BYTES + 999
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free, 0, free))
    s3_server.requests.clear()
    with pytest.raises(DiskFull, match=r"64 MiB are free: make room"):
        s3_store.local_folder("builds/0/u", check_x)
    assert [method for method, _ in s3_server.requests] == ["GET"], "only the listing"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free, 0, free + 1))
    assert s3_store.local_folder("builds/0/u", check_x)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failed_sync_ends_the_attempt(
    s3_store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    s3_store.put("builds/0/u/x", b"x" * 1000)

    def failing(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        # Only files: the folders must be made.
        patch.setattr(sys.modules["topics.s3_store"], "sync_file", failing)
        with pytest.raises(DiskFull if number == errno.ENOSPC else OSError, match=r"room|Input/output"):
            s3_store.local_folder("builds/0/u", check_x)
    assert local_files(tmp_path) == []
    assert s3_store.local_folder("builds/0/u", check_x)


def test_a_download_that_died_is_removed_and_a_living_one_is_not(s3_store: S3Store, tmp_path: Path) -> None:
    s3_store.put("builds/0/u/x", b"x" * 1000)
    root = s3_store._copies._root
    dead, alive = (root / f"{disk.TEMPORARY}{name}" for name in ("dead", "alive"))
    for path in (dead, alive):
        path.mkdir(parents=True)
        (path / "half").touch()
        os.utime(path, (1e9, 1e9))
    os.utime(dead / "half", (1e9, 1e9))
    s3_store.local_folder("builds/0/u", check_x)
    assert alive.is_dir()
    assert not dead.exists()
    assert local_copies.KEPT == 2


@pytest.mark.parametrize(
    ("url", "endpoint", "said"),
    [
        ("s3:///x", "", "s3://BUCKET"),
        ("s3://user@bucket", "", "s3://BUCKET"),
        ("s3://bucket?x=1", "", "s3://BUCKET"),
        ("s3://bucket/../x", "", "not a store key"),
        ("s3://bucket", "127.0.0.1:9000", "FRESHLENS_S3_ENDPOINT"),
    ],
)
def test_settings_that_cannot_be_are_refused(url: str, endpoint: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        S3Settings.from_env(url, {"FRESHLENS_S3_ENDPOINT": endpoint})


def test_the_settings_of_a_bucket(tmp_path: Path) -> None:
    settings = S3Settings.from_env("s3://bucket/a/b/", {"FRESHLENS_DATA": str(tmp_path)})
    assert dataclasses.astuple(settings) == ("bucket", "a/b/", None, tmp_path / "cache" / "bucket" / "a" / "b")


def test_without_the_extra_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "topics.s3_store", None)
    with pytest.raises(SettingsError, match=r"pip install 'freshlens\[s3\]'"):
        open_store("s3://bucket")
