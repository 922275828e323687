"""Holding a source, and letting it through."""

import asyncio
from pathlib import Path

import pytest

from schemas.errors import SourceHeld
from schemas.events import Content, Offer, ProductAdded
from streams.watch import holds as watch_holds
from streams.watch.holds import HeldSources, Holds
from topics.store import FileStore

FEED = ProductAdded("shop", "p", content=Content(attributes={"source": "feed"}))
PLAIN = ProductAdded("shop", "p", offer=Offer(price=1.0))


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path)


def test_a_held_source_is_refused_and_no_other(store: FileStore) -> None:
    Holds(store).hold("shop/feed", "too many duplicates", 5)
    held = HeldSources(store)
    held.check(PLAIN)
    with pytest.raises(SourceHeld, match="too many duplicates"):
        held.check(FEED)


def test_what_is_held_stays_as_it_was(store: FileStore) -> None:
    holds = Holds(store)
    first = holds.hold("shop", "first", 5)
    assert holds.hold("shop", "second", 9) == first == holds.of("shop")


def test_what_is_released_is_let_through_and_can_be_held_again(store: FileStore) -> None:
    holds = Holds(store)
    holds.release(holds.hold("shop", "first", 5), 100)
    HeldSources(store).check(PLAIN)
    released = holds.of("shop")
    assert released is not None
    assert (released.is_on, released.released_until) == (False, 100)
    assert holds.hold("shop", "again", 200).since == 200
    with pytest.raises(SourceHeld):
        HeldSources(store).check(PLAIN)


def test_names_of_any_kind_are_kept_apart(store: FileStore) -> None:
    holds = Holds(store)
    for source in ("shop/../x", "shop/", "shop/ü\0", "shop"):
        holds.hold(source, source, 1)
    assert {source: hold.reason for source, hold in holds.all().items()} == {
        source: source for source in ("shop/../x", "shop/", "shop/ü\0", "shop")
    }


async def test_a_worker_follows_and_keeps_what_it_knew_while_the_store_is_away(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_holds, "LOOK_EVERY_S", 0)
    held = HeldSources(store)
    held.check(PLAIN)
    looks = 0
    listed = FileStore.list

    def counted(self: FileStore, prefix: str = "") -> list[str]:
        nonlocal looks
        looks += 1
        if looks > 5:
            raise OSError("away")
        return listed(self, prefix)

    monkeypatch.setattr(FileStore, "list", counted)
    following = asyncio.create_task(held.follow())
    Holds(store).hold("shop", "by hand", 1)
    while looks < 8:
        await asyncio.sleep(0)
    following.cancel()
    with pytest.raises(SourceHeld):
        held.check(PLAIN)
