"""The block list: what looks the same is found, whoever wrote it and whenever the store is away."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from structlog.testing import capture_logs

from processors.encoders.encoder import PictureForm
from processors.pictures import blocklist
from processors.pictures.blocklist import EVERY_TENANT, BlockEntry, BlockList, BlockListStore, hashes_of, is_hash
from processors.pictures.decode import decode
from processors.pictures.gate_settings import BLOCKLIST_BITS
from schemas.errors import InvalidRecord, StoreUnavailable
from tests import hostile, videos
from topics.store import FileStore

PHOTO = Image.fromarray(videos.scene(5, 600, 400))


def entry(phash: bytes, tenant: str = "shop") -> BlockEntry:
    return BlockEntry(phash.hex(), tenant, (phash.hex(),), 1, "me")


def phash_of(image: Image.Image, **options: object) -> bytes:
    return decode(hostile.saved(image, "JPEG", **options), PictureForm(32)).phash


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "smaller": lambda image: image.resize((90, 60)),
    "another shape": lambda image: image.resize((400, 400)),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down and mirrored": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "darker": lambda image: image.point(lambda value: int(value * 0.8)),
    "grey": lambda image: image.convert("L"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_is_found_however_it_was_saved_again(tmp_path: Path, change: str) -> None:
    hashes = hashes_of(hostile.saved(PHOTO, "PNG"))
    assert len(hashes) == len(set(hashes)) == 8
    store = FileStore(tmp_path)
    BlockListStore(store).add(BlockEntry(hashes[0], "shop", hashes, 1, "me"))
    blocked = BlockList(store, bits=BLOCKLIST_BITS)
    blocked.refresh()
    assert blocked.match("shop", phash_of(CHANGES[change](PHOTO), quality=50))
    assert not any(blocked.match("shop", phash_of(Image.fromarray(videos.scene(n)))) for n in range(6, 40))


def test_a_blank_picture_cannot_be_blocked() -> None:
    with pytest.raises(InvalidRecord, match="blank"):
        hashes_of(hostile.saved(Image.new("RGB", (100, 100), "white"), "PNG"))


def test_entries_are_added_once_and_removed(tmp_path: Path) -> None:
    entries = BlockListStore(FileStore(tmp_path))
    assert entries.add(entry(b"a" * 8))
    assert not entries.add(entry(b"a" * 8))
    assert entries.add(entry(b"a" * 8, EVERY_TENANT))
    assert {each.tenant for each in entries.entries()} == {"shop", EVERY_TENANT}
    assert entries.remove("shop", (b"a" * 8).hex())
    assert not entries.remove("shop", (b"a" * 8).hex())
    assert [each.tenant for each in entries.entries()] == [EVERY_TENANT]
    assert is_hash("0123456789abcdef")
    assert not is_hash("../../../../etc/")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_it_is_read_again_every_few_seconds(tmp_path: Path) -> None:
    store, clock = FileStore(tmp_path), Clock()
    blocked = BlockList(store, bits=0, every_s=5.0, now=clock)
    await blocked.refresh_if_due()
    BlockListStore(store).add(entry(b"a" * 8))
    clock.now = 4.9
    await blocked.refresh_if_due()
    assert blocked.match("shop", b"a" * 8) is None
    clock.now = 5.0
    await blocked.refresh_if_due()
    assert blocked.match("shop", b"a" * 8) is not None
    BlockListStore(store).remove("shop", (b"a" * 8).hex())
    clock.now = 10.0
    await blocked.refresh_if_due()
    assert blocked.match("shop", b"a" * 8) is None


class AwayStore(FileStore):
    is_away = True

    def list(self, prefix: str = "") -> list[str]:
        if self.is_away:
            raise OSError("the disk is away")
        return super().list(prefix)


async def test_nobody_passes_before_it_was_read_once_and_later_it_stays_as_it_was(tmp_path: Path) -> None:
    store, clock = AwayStore(tmp_path), Clock()
    blocked = BlockList(store, bits=0, now=clock)
    with pytest.raises(OSError, match="away"):
        await blocked.refresh_if_due()
    BlockListStore(store).add(entry(b"a" * 8))
    store.is_away = False
    await blocked.refresh_if_due()
    store.is_away, clock.now = True, 100.0
    with capture_logs() as logs:
        await blocked.refresh_if_due()
    assert blocked.match("shop", b"a" * 8) is not None
    assert [log["event"] for log in logs] == ["block list not read"]


NO_HASH = b'{"id":"x","tenant":"shop","hashes":["zz"],"added_at_us":1,"added_by":""}'


@pytest.mark.parametrize("raw", [b"garbage", NO_HASH])
def test_an_entry_that_cannot_be_read_blocks_nothing_and_is_logged(tmp_path: Path, raw: bytes) -> None:
    store = FileStore(tmp_path)
    store.put("blocklist/shop/0123456789abcdef", raw)
    BlockListStore(store).add(entry(b"a" * 8))
    blocked = BlockList(store, bits=0)
    with capture_logs() as logs:
        blocked.refresh()
    assert blocked.match("shop", b"a" * 8) is not None
    assert [log["event"] for log in logs] == ["block list entry ignored"]


class HangingStore(FileStore):
    answers = threading.Event()

    def list(self, prefix: str = "") -> list[str]:
        assert self.answers.wait(30)
        return super().list(prefix)


async def test_a_store_that_hangs_is_not_waited_for_once_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, clock = HangingStore(tmp_path), Clock()
    BlockListStore(store).add(entry(b"a" * 8))
    store.answers.set()
    blocked = BlockList(store, bits=0, now=clock)
    await blocked.refresh_if_due()
    store.answers.clear()
    for _ in range(3):
        clock.now += 5.0
        await asyncio.wait_for(blocked.refresh_if_due(), 20)
        assert blocked.match("shop", b"a" * 8) is not None
    monkeypatch.setattr(blocklist, "_FIRST_PATIENCE_S", 0.05)
    with pytest.raises(StoreUnavailable):
        await BlockList(store, bits=0, now=clock).refresh_if_due()
    store.answers.set()
