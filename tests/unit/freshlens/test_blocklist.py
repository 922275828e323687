"""``freshlens blocklist``."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from freshlens.cli import cli
from processors.encoders.encoder import PictureForm
from processors.pictures.blocklist import BlockList
from processors.pictures.decode import decode
from schemas.errors import InvalidRecord, SettingsError
from tests import hostile, videos
from topics.store import FileStore

HASH = "0123456789abcdef"
PHOTO = hostile.saved(Image.fromarray(videos.scene(1, 200, 200)), "JPEG")


def blocklist(data: Path, *arguments: str) -> Result:
    runner = CliRunner(env={"FRESHLENS_STORE": "", "FRESHLENS_TENANT": ""})
    return runner.invoke(cli, ["--data", str(data), "--tenant", "shop", "blocklist", *arguments])


def listed(data: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in blocklist(data, "list", "--json").stdout.splitlines()]


def test_a_picture_is_blocked_and_allowed_again(tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(PHOTO)
    data = tmp_path / "data"
    entry_id = decode(PHOTO, PictureForm(32)).phash.hex()
    assert blocklist(data, "add", str(file), "--note", "stolen").stdout == f"blocked {entry_id}\n"
    assert blocklist(data, "add", str(file)).stdout == f"{entry_id} was blocked before\n"
    (entry,) = listed(data)
    assert (entry["id"], entry["tenant"], entry["note"]) == (entry_id, "shop", "stolen")
    blocked = BlockList(FileStore(data / "store"), bits=0)
    blocked.refresh()
    assert blocked.match("shop", bytes.fromhex(entry_id))
    assert entry_id in blocklist(data, "list").stdout
    assert blocklist(data, "remove", entry_id).stdout == f"allowed {entry_id}\n"
    assert listed(data) == []


def test_a_hash_is_blocked_for_every_tenant(tmp_path: Path) -> None:
    assert blocklist(tmp_path, "add", HASH, "--all-tenants").exit_code == 0
    assert [(entry["id"], entry["tenant"]) for entry in listed(tmp_path)] == [(HASH, "*")]
    assert isinstance(blocklist(tmp_path, "remove", HASH).exception, SettingsError), "it is not of this tenant"
    assert blocklist(tmp_path, "remove", HASH, "--all-tenants").exit_code == 0


def test_every_change_is_on_record(tmp_path: Path) -> None:
    blocklist(tmp_path, "add", HASH)
    blocklist(tmp_path, "remove", HASH)
    lines = [json.loads(line) for line in (tmp_path / "logs" / "audit.log").read_text().splitlines()]
    assert [(line["action"], line["object"], line["tenant"]) for line in lines] == [
        ("blocklist-add", HASH, "shop"),
        ("blocklist-remove", HASH, "shop"),
    ]


@pytest.mark.parametrize("picture", ["no-such-file.jpg", HASH.upper(), HASH[:-1]])
def test_what_is_neither_a_file_nor_a_hash_is_said(tmp_path: Path, picture: str) -> None:
    result = blocklist(tmp_path, "add", picture)
    assert result.exit_code == 2
    assert "neither a file nor a hash" in result.stderr
    assert blocklist(tmp_path, "remove", picture).exit_code == 2


def test_a_blank_picture_cannot_be_blocked(tmp_path: Path) -> None:
    file = tmp_path / "blank.png"
    file.write_bytes(hostile.saved(Image.new("RGB", (100, 100), "white"), "PNG"))
    assert isinstance(blocklist(tmp_path, "add", str(file)).exception, InvalidRecord)
    assert listed(tmp_path) == []
