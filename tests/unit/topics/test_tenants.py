"""Tenants' declarations: followed within seconds, and kept where the store does not answer."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import StorageError, StoreUnavailable
from schemas.events import ProductDeleted, Source
from schemas.framing import PRODUCT_DELETED
from schemas.index_log import IndexLogRecord
from schemas.tenants import TenantDeclaration
from schemas.versions import VersionKind
from streams.app import Received
from streams.deletes import DeleteStep
from streams.ledger import Place, Ticket
from topics import tenants
from topics.store import FileStore
from topics.tenants import REFRESH_S, TenantDirectory

SIZES = TenantDeclaration("shop", attributes={"size": "number"})


class Store(FileStore):
    """May fail, or not answer before it is let go."""

    error: Exception | None = None
    answers = threading.Event()
    reads = 0

    def get(self, key: str) -> bytes:
        self.reads += 1
        assert self.answers.wait(30)
        if self.error is not None:
            raise self.error
        return super().get(key)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    made.answers.set()
    yield made
    made.answers.set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory(store: Store, clock: Clock) -> TenantDirectory:
    return TenantDirectory(store, clock)


def test_what_is_declared_is_followed(store: Store, clock: Clock, directory: TenantDirectory) -> None:
    assert directory.declaration("shop") == TenantDeclaration("shop")
    TenantDirectory(store).declare(SIZES)
    clock.now += REFRESH_S - 1
    assert directory.declaration("shop") == TenantDeclaration("shop"), "not looked at again so soon"
    clock.now += 1
    assert directory.declaration("shop") == SIZES
    clock.now += 3600
    TenantDirectory(store).declare(TenantDeclaration("shop", VersionKind.MICROSECONDS))
    assert directory.declaration("shop").attributes == {}, "however long nobody asked"


@pytest.mark.parametrize("error", [StoreUnavailable("away"), OSError("away"), StorageError("damaged")])
async def test_what_is_known_stays_while_the_store_fails(
    store: Store, clock: Clock, directory: TenantDirectory, error: Exception
) -> None:
    directory.declare(SIZES)
    assert await directory.current("shop") == SIZES
    store.error = error
    for _ in range(3):
        clock.now += REFRESH_S
        assert directory.declaration("shop") == SIZES
        clock.now += REFRESH_S
        assert await directory.current("shop") == SIZES
    with pytest.raises(type(error)):
        directory.declaration("other")
    with pytest.raises(type(error)):
        await directory.current("other")


async def test_a_store_that_hangs_holds_nobody_up_who_is_known(
    store: Store, clock: Clock, directory: TenantDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.declare(SIZES)
    assert await directory.current("shop") == SIZES
    store.answers.clear()
    reads = store.reads
    for _ in range(3):
        clock.now += REFRESH_S
        assert await asyncio.wait_for(directory.current("shop"), 5) == SIZES
        assert directory.declaration("shop") == SIZES
    assert store.reads == reads + 1, "asked once, however many wait"
    monkeypatch.setattr(tenants, "_FIRST_PATIENCE_S", 0.1)
    ticked = asyncio.create_task(asyncio.sleep(0))
    with pytest.raises(StoreUnavailable, match="not read within"):
        await directory.current("other")
    assert ticked.done(), "and the event loop went on"
    store.answers.set()
    TenantDirectory(FileStore(store.root)).declare(TenantDeclaration("shop"))
    clock.now += REFRESH_S
    while (await directory.current("shop")).attributes:
        clock.now += REFRESH_S
        await asyncio.sleep(0.01)


def test_what_is_no_declaration_says_so(store: Store, directory: TenantDirectory) -> None:
    store.put("tenants/shop.json", b"{")
    with pytest.raises(StorageError, match="cannot be read"):
        directory.declaration("shop")


async def test_while_the_store_hangs_deletions_of_known_tenants_do_not_wait_for_those_of_others(
    store: Store, clock: Clock, directory: TenantDirectory
) -> None:
    await directory.current("shop")
    store.answers.clear()
    clock.now += REFRESH_S
    step = DeleteStep(writer=Written(), finisher=Confirmed(), tenants=directory, registry=None)  # type: ignore[arg-type]
    others = [asyncio.create_task(step.delete(received(f"new-{number}"))) for number in range(8)]
    assert await asyncio.wait_for(step.delete(received("shop")), 8) == "deleted"
    assert not any(other.done() for other in others)
    store.answers.set()
    assert await asyncio.wait_for(asyncio.gather(*others), 20) == ["deleted"] * 8


async def test_a_key_that_names_nobody_is_for_the_reader_to_refuse(directory: TenantDirectory) -> None:
    for raw in (None, b"", b"no slash", b"Not a tenant/p"):
        assert await directory.at_hand(raw) == directory.declaration


class Written:
    async def write(self, _: IndexLogRecord) -> tuple[int, int]:
        return 0, 1


class Confirmed:
    def confirmed(self, *_: object) -> None: ...


def received(tenant: str) -> Received:
    event = PRODUCT_DELETED.encode(ProductDeleted(tenant, "p"))
    source = Source("product-deleted", 0, 7, 1_795_200_000_000)
    return Received(Ticket(Place("product-deleted", 0), 7, 1), source, f"{tenant}/p".encode(), event)
