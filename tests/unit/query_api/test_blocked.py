"""Products that were indexed before their picture was blocked."""

from pathlib import Path

from processors.pictures.blocklist import EVERY_TENANT, BlockEntry, BlockListStore
from tests.unit.query_api.doubles import Api, running_api, shard_product, vector_of

BLOCKED, FINE = b"\x00" * 8, b"\xff" * 8


def found(answer: dict) -> list[str]:
    return [result["product_id"] for result in answer["results"]]


async def search(api: Api, k: int, tenant: str = "default") -> list[str]:
    body = {"vector": vector_of("asked").tolist(), "k": k}
    return found(await (await api.client.post(f"/v1/search?tenant={tenant}", json=body)).json())


def block(api: Api, tenant: str = "default", phash: bytes = BLOCKED) -> None:
    BlockListStore(api.store).add(BlockEntry(phash.hex(), tenant, (phash.hex(),), 1, "me"))


def fill(api: Api, tenant: str = "default") -> None:
    """Twenty products of the blocked picture, which are nearest, and three others."""
    near = [shard_product(f"blocked-{n}", vector=vector_of("asked"), dup_group=BLOCKED) for n in range(20)]
    far = [shard_product(f"fine-{n}", dup_group=FINE) for n in range(2)]
    api.shard.put(*near, *far, shard_product("text", dup_group=BLOCKED * 2), tenant=tenant)


async def test_what_is_blocked_is_not_found_and_as_many_others_are(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        fill(api)
        assert all(name.startswith("blocked") for name in await search(api, 3))
        block(api, phash=b"\x00" * 7 + b"\x03")
        assert set(await search(api, 3)) == {"fine-0", "fine-1", "text"}, "it looks nearly the same"
        assert set(await search(api, 2)) < {"fine-0", "fine-1", "text"}
        assert len(await search(api, 2)) == 2
        assert len(await search(api, 10)) == 3
        listed = await (await api.client.get("/v1/products?limit=10")).json()
        assert {product["product_id"] for product in listed["products"]} == {"fine-0", "fine-1", "text"}
        BlockListStore(api.store).remove("default", (b"\x00" * 7 + b"\x03").hex())
        assert all(name.startswith("blocked") for name in await search(api, 3))


async def test_a_tenants_entries_are_its_own_and_those_of_all_are_everybodys(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        fill(api)
        fill(api, "other")
        block(api, "other")
        assert all(name.startswith("blocked") for name in await search(api, 3))
        assert set(await search(api, 3, "other")) == {"fine-0", "fine-1", "text"}
        block(api, EVERY_TENANT)
        assert set(await search(api, 3)) == {"fine-0", "fine-1", "text"}
