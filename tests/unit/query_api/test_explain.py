"""Why a product is here, and why another is not: one constructed case for each reason."""

import base64
from pathlib import Path

import pytest

from processors.pictures.blocklist import BlockEntry, BlockListStore
from schemas.shard import ShardProduct
from tests.unit.query_api.doubles import JPEG, Api, running_api, shard_product, vector_of


async def why(api: Api, product_id: str, path: str = "/v1/why-not", **body: object) -> dict:
    response = await api.client.post(path, json={"product_id": product_id, **body})
    assert response.status == 200, await response.text()
    answer: dict = await response.json()
    return answer


async def test_shown(api: Api) -> None:
    answer = await why(api, "a", "/v1/explain", vector=vector_of("a").tolist())
    assert (answer["shown"], answer["reason"], answer["position"]) == (True, "shown", 1)
    assert answer["similarity"] == answer["score"] == answer["stages"]["visual"] == pytest.approx(1, abs=2e-3)
    assert answer["source"] == "tail"
    assert answer["remedy"] is None
    assert answer["product"]["content_version"] == 1


async def test_never_seen(api: Api) -> None:
    answer = await why(api, "nobody", text="x")
    assert (answer["shown"], answer["reason"], answer["product"]) == (False, "never-seen", None)


async def test_deleted_names_the_version_that_would_win(api: Api) -> None:
    answer = await why(api, "d", text="x")
    assert answer["reason"] == "deleted"
    assert answer["remedy"] == "publish it with a version greater than 9"


async def test_no_content(api: Api) -> None:
    api.shard.put(
        ShardProduct(product_id="offer", visible=False, content_version=None, offer_version=5, deleted_version=None)
    )
    assert (await why(api, "offer", text="x"))["reason"] == "no-content"


async def test_filtered_out_names_the_clause(api: Api) -> None:
    answer = await why(api, "a", text="x", filter={"color": ["red"], "price": {"gte": 10, "lt": 50}})
    assert answer["reason"] == "filtered-out"
    assert answer["detail"] == "the filter wants price ≥ 10 and < 50, and the product has price=5.0"


async def test_no_vector(api: Api) -> None:
    blind = shard_product("blind")
    api.shard.put(ShardProduct(**{**{name: getattr(blind, name) for name in blind.__struct_fields__}, "vectors": ()}))
    assert (await why(api, "blind", text="x"))["reason"] == "no-vector"
    assert (await why(api, "blind", filter={"in_stock": True}))["reason"] == "shown"


async def test_below_the_threshold(tmp_path: Path) -> None:
    async with running_api(tmp_path, thresholds={"text": 0.99}) as api:
        api.shard.put(shard_product("a"))
        answer = await why(api, "a", text="something else")
        assert answer["reason"] == "below-threshold"
        assert answer["threshold"] == 0.99
        assert answer["best_similarity"] < 0.99


async def test_ranked_out_says_the_k_that_would_do(api: Api) -> None:
    asked = {"vector": vector_of("a").tolist()}
    response = await api.client.post("/v1/search", json=asked)
    last = (await response.json())["results"][-1]
    answer = await why(api, last["product_id"], k=1, **asked)
    assert (answer["reason"], answer["position"]) == ("ranked-out", 3)
    assert answer["remedy"] == "k of at least 3"
    assert answer["similarity"] == pytest.approx(last["similarity"], abs=2e-3)


async def test_lost_in_approximate_search(api: Api) -> None:
    api.shard.hidden = frozenset({"a"})
    answer = await why(api, "a", vector=vector_of("a").tolist())
    assert (answer["reason"], answer["position"]) == ("lost-in-approximate-search", 1)
    assert (await why(api, "a", vector=vector_of("a").tolist(), exact=True))["reason"] == "shown"


async def test_without_a_search_it_says_whether_it_can_be_found(api: Api) -> None:
    assert (await why(api, "a"))["reason"] == "shown"
    assert (await why(api, "d"))["reason"] == "deleted"


async def test_the_shard_is_missing(api: Api) -> None:
    api.shard.is_dead = True
    assert (await why(api, "a", text="x"))["reason"] == "shard-missing"


@pytest.mark.parametrize("body", [{"text": "x"}, {"product_id": "", "text": "x"}, {"product_id": "a", "k": 0}])
async def test_what_is_refused(api: Api, body: dict) -> None:
    assert (await api.client.post("/v1/explain", json=body)).status == 400


async def test_collapsed_into_a_duplicate(api: Api) -> None:
    twin = shard_product("twin", vector=vector_of("a"), dup_group=b"g")
    api.shard.put(shard_product("a", dup_group=b"g"), twin)
    asked = {"vector": vector_of("a").tolist(), "collapse": True}
    response = await api.client.post("/v1/search", json=asked)
    assert [result["product_id"] for result in (await response.json())["results"]].count("twin") == 0
    answer = await why(api, "twin", **asked)
    assert answer["reason"] == "collapsed-into-duplicate"
    assert "'a'" in answer["detail"]
    assert (await why(api, "twin", **{**asked, "collapse": False}))["reason"] == "shown"


async def test_a_blocked_picture(api: Api) -> None:
    api.shard.put(shard_product("mug", dup_group=b"\x00" * 8))
    BlockListStore(api.store).add(BlockEntry("00" * 8, "default", ("00" * 8,), 1, "me"))
    answer = await why(api, "mug", vector=vector_of("mug").tolist())
    assert (answer["shown"], answer["reason"]) == (False, "blocked")
    assert (await why(api, "a", vector=vector_of("mug").tolist()))["shown"]


async def test_what_the_search_begins_with_is_no_answer_to_it(api: Api) -> None:
    for body in ({"parts": [{"product_id": "a"}]}, {"parts": [{"product_id": "a"}, {"text": "blue"}]}):
        answer = await why(api, "a", **body)
        assert (answer["shown"], answer["reason"]) == (False, "asked-about")


async def test_a_picture_that_shows_nothing(api: Api) -> None:
    api.encoder.flags = ("blank",)
    answer = await why(api, "a", image={"base64": base64.b64encode(JPEG).decode()})
    assert (answer["shown"], answer["reason"]) == (False, "picture-shows-nothing")
