"""POST /v1/search as a caller sees it."""

import asyncio
import base64
import json
from pathlib import Path

import pytest

from schemas.feedback import Search
from schemas.progress import Position, ProgressFact, ReadToken, decode_token
from schemas.shard import ShardLookup, ShardProduct, ShardSearch
from tests.unit.query_api.doubles import DIM, JPEG, LOG_ID, SPACE, Api, running_api, shard_product, vector_of


async def search(api: Api, expect: int = 200, **body: object) -> dict:
    response = await api.client.post("/v1/search", json=body)
    assert response.status == expect, await response.text()
    return await response.json()


def ids(answer: dict) -> list[str]:
    return [result["product_id"] for result in answer["results"]]


async def test_a_vector_finds_its_product_first(api: Api) -> None:
    answer = await search(api, vector=vector_of("b").tolist(), k=2)
    best = answer["results"][0]
    assert best["product_id"] == "b"
    assert best["position"] == 1
    assert best["score"] == best["similarity"] == pytest.approx(1.0, abs=2e-3)
    assert best["source"] == "tail"
    assert best["attributes"] == {"color": "blue", "price": 15.0, "in_stock": True}
    assert best["price"] == 15.0
    assert len(answer["results"]) == 2
    assert answer["shards"] == {"answered": 1, "total": 1}
    assert answer["freshness"] == [{"shard": 0, "generation": 3, "applied": {"0": 10}, "lag_ms": 5, "stale": False}]
    assert answer["total_candidates"] == 3
    assert answer["freshness_met"] is True
    assert answer["no_match"] is False
    assert answer["warnings"] == []
    assert {"encode", "search", "rank", "total"} <= answer["timings_ms"].keys()


async def test_a_raw_picture_with_parameters(api: Api) -> None:
    parameters = {"k": "1", "filter": json.dumps({"color": "red"}), "crop": "0.1,0.1,0.5,0.5"}
    response = await api.client.post("/v1/search", data=JPEG, headers={"Content-Type": "image/jpeg"}, params=parameters)
    answer = await response.json()
    assert response.status == 200, answer
    assert len(answer["results"]) == 1
    assert api.encoder.asked[0].image == JPEG
    assert api.encoder.asked[0].crop == (0.1, 0.1, 0.5, 0.5)


@pytest.mark.parametrize("prefix", ["", "data:image/jpeg;base64,"])
async def test_a_picture_in_json(api: Api, prefix: str) -> None:
    image = prefix + base64.b64encode(JPEG).decode()
    await search(api, image={"base64": image})
    if prefix:
        await search(api, image=image)
    assert all(request.image == JPEG for request in api.encoder.asked)


async def test_picture_and_text_are_fused_by_weight(api: Api) -> None:
    api.shard.put(shard_product("picture", vector=vector_of(JPEG)), shard_product("text", vector=vector_of("in blue")))
    image = {"base64": base64.b64encode(JPEG).decode()}
    even = await search(api, image=image, text="in blue", k=2)
    assert set(ids(even)) == {"picture", "text"}
    assert ids(await search(api, image=image, text="in blue", text_weight=0.1, k=1)) == ["picture"]
    assert ids(await search(api, image=image, text="in blue", text_weight=0.9, k=1)) == ["text"]
    search_record = next(record for topic, record in api.records() if topic == "searches")
    assert isinstance(search_record, Search)
    assert search_record.modality == "image+text"


async def test_a_product_finds_the_others(api: Api) -> None:
    by_body = await search(api, product_id="a", k=10)
    response = await api.client.get("/v1/products/a/similar", params={"k": 10})
    by_path = await response.json()
    assert sorted(ids(by_body)) == ["b", "c"]
    assert ids(by_path) == ids(by_body)
    assert (await search(api, 404, product_id="d"))["code"] == "not-found"
    assert (await search(api, 404, product_id="nobody"))["code"] == "not-found"


async def test_a_filter_alone_answers_newest_first(api: Api) -> None:
    assert ids(await search(api, filter={"color": ["red", "blue"]})) == ["c", "b", "a"]
    assert ids(await search(api, filter={"price": {"gte": 10}, "not": {"color": "blue"}})) == ["c"]


async def test_a_filter_that_nothing_passes_says_no_match(api: Api) -> None:
    answer = await search(api, vector=vector_of("a").tolist(), filter={"color": "green"})
    assert answer["results"] == []
    assert answer["no_match"] is True


async def test_below_the_threshold_nothing_is_shown(tmp_path: Path) -> None:
    async with running_api(tmp_path, thresholds={"text": 0.9}) as api:
        api.shard.put(shard_product("a"))
        below = await search(api, text="something else")
        assert below["results"] == []
        assert below["no_match"] is True
        assert ids(await search(api, text="a")) == ["a"]
        assert ids(await search(api, vector=vector_of("something else").tolist())) == ["a"], "vectors have none"
        assert api.metrics.values["freshlens_no_match_total", ()] == 1


async def test_tenants_see_their_own(api: Api) -> None:
    api.shard.put(shard_product("other"), tenant="shop")
    response = await api.client.post("/v1/search", params={"tenant": "shop"}, json={"vector": vector_of("a").tolist()})
    assert ids(await response.json()) == ["other"]
    response = await api.client.post("/v1/search", params={"tenant": "Not/One"}, json={"text": "x"})
    assert response.status == 400
    assert (await response.json())["code"] == "invalid-tenant"


async def test_the_thumbnail_names_tenant_and_size(api: Api) -> None:
    answer = await search(api, vector=vector_of("a").tolist(), k=1)
    assert answer["results"][0]["thumbnail"] == f"/v1/thumbnails/{'01' * 16}?tenant=default&size=256"


async def test_the_shard_is_asked_what_the_caller_asked(api: Api) -> None:
    await search(api, vector=vector_of("a").tolist(), k=3, exact=True, timeout_ms=500)
    asked = api.shard.asked[-1]
    assert isinstance(asked, ShardSearch)
    assert (asked.lane, asked.layout_id, asked.tenant, asked.k, asked.exact) == ("main", "p8s1", "default", 3, True)
    assert asked.timeout_ms <= 500


async def test_the_search_leaves_for_kafka(api: Api) -> None:
    answer = await search(api, text="red dress", k=2, session="s1", filter={"color": "red"})
    ((topic, record),) = api.records()
    assert topic == "searches"
    assert isinstance(record, Search)
    assert record.query_id == answer["query_id"]
    assert [(shown.product_id, shown.position) for shown in record.shown] == [(ids(answer)[0], 1), (ids(answer)[1], 2)]
    assert (record.modality, record.text, record.session) == ("text", "red dress", "s1")
    assert record.filter == '{"color":"red"}'
    assert record.embedding is not None
    assert len(record.embedding) == 2 * DIM
    assert record.space == SPACE.name


async def test_a_full_buffer_drops_and_counts(tmp_path: Path) -> None:
    async with running_api(tmp_path, queued_max=1) as api:
        for _ in range(3):
            await search(api, filter={"x": 1})
        key = ("freshlens_feedback_dropped_total", (("reason", "queue-full"), ("topic", "searches")))
        assert api.metrics.values[key] == 2


async def test_a_dead_shard_makes_the_answer_partial(tmp_path: Path) -> None:
    async with running_api(tmp_path, shards=2) as api:
        api.shards[0].put(shard_product("a"))
        api.shards[1].is_dead = True
        answer = await search(api, vector=vector_of("a").tolist())
        assert ids(answer) == ["a"]
        assert answer["shards"] == {"answered": 1, "total": 2}
        assert answer["warnings"] == ["partial: 1 of 2 shards answered"]
        empty = await search(api, vector=vector_of("a").tolist(), filter={"color": "none"})
        assert empty["no_match"] is False, "a missing shard may hold the match"
        api.shards[0].is_dead = True
        assert (await search(api, 503, vector=vector_of("a").tolist()))["code"] == "shard-unavailable"


async def test_a_stale_shard_is_said(api: Api) -> None:
    api.shard.stale = True
    assert (await search(api, text="a"))["warnings"] == ["stale: shard 0 is 5 ms behind"]


async def test_no_encoder_no_text(api: Api) -> None:
    api.encoder.is_dead = True
    assert (await search(api, 503, text="a"))["code"] == "encoder-unavailable"
    await search(api, vector=vector_of("a").tolist())


async def test_the_read_token_is_what_was_applied(api: Api) -> None:
    answer = await search(api, text="a")
    assert decode_token(answer["read_token"]) == ReadToken((Position(LOG_ID, "index-log", 0, 9),))
    again = await search(api, text="a", min_offset=answer["read_token"])
    assert again["freshness_met"] is True
    api.shard.applied = {0: 9}
    older = await search(api, text="a", min_offset=answer["read_token"])
    assert older["freshness_met"] is False
    assert older["warnings"] == ["freshness-unmet: the answer is older than asked for"]
    problem = await search(api, 412, text="a", min_offset=answer["read_token"], require=True)
    assert problem["code"] == "freshness-unmet"


async def test_an_offset_of_an_input_topic_waits_for_its_fact(api: Api) -> None:
    asked = {"topic": "product-added", "partition": 0, "offset": 41}
    unmet = await search(api, text="a", min_offset=asked)
    assert unmet["freshness_met"] is False
    fact = ProgressFact("main", "cluster:product-added", "product-added", 0, 42, {"0": 10})
    api.cluster.learn(facts=[fact])
    met = await search(api, text="a", min_offset=asked)
    assert met["freshness_met"] is True
    last = api.shard.asked[-1]
    assert last.min_applied == {0: 10}
    beyond = await search(api, 412, text="a", min_offset={**asked, "offset": 42}, require=True)
    assert beyond["code"] == "freshness-unmet"


async def test_a_token_of_another_log(api: Api) -> None:
    api.cluster.learn_logs({"index-log": LOG_ID})
    token = ReadToken((Position("cluster:older", "index-log", 0, 3),)).encode()
    assert (await search(api, 400, text="a", min_offset=token))["code"] == "token-unknown-log"


async def test_a_session_never_goes_back(api: Api) -> None:
    await search(api, text="a", session="s")
    await search(api, text="a", session="s")
    assert api.shard.asked[-1].min_applied == {0: 10}
    await search(api, text="a", session="another")
    assert api.shard.asked[-1].min_applied == {}


GOOD = [0.1] * DIM
PICTURE = {"base64": base64.b64encode(JPEG).decode()}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid-query"),
        ({"text": "   "}, "invalid-query"),
        ({"txet": "a"}, "unknown-field"),
        ({"text": "a", "image": {"base64": "aGk=", "uri": "x"}}, "unknown-field"),
        ({"text": 5}, "invalid-query"),
        ({"text": "a" * 1_001}, "invalid-query"),
        ({"text": "a", "k": 0}, "invalid-query"),
        ({"text": "a", "k": 201}, "invalid-query"),
        ({"text": "a", "k": 1.5}, "invalid-query"),
        ({"text": "a", "timeout_ms": 0}, "invalid-query"),
        ({"text": "a", "wait_ms": -1}, "invalid-query"),
        ({"text": "a", "crop": [0, 0, 1, 1]}, "invalid-query"),
        ({"image": {"base64": "%%%"}}, "invalid-query"),
        ({"image": "not a data url"}, "invalid-query"),
        ({"image": {"base64": ""}}, "invalid-query"),
        ({"image": {"base64": "aGVsbG8="}}, "undecodable-image"),
        ({"image": {"base64": "aGVsbG8="}, "crop": [0.5, 0.5, 0.9, 0.1]}, "invalid-query"),
        ({"image": {"base64": "aGVsbG8="}, "crop": [0.5, 0.5, 0.0, 0.1]}, "invalid-query"),
        ({"image": {"base64": "aGVsbG8="}, "crop": [0.5, 0.5]}, "invalid-query"),
        ({"vector": [0.0] * DIM}, "invalid-vector"),
        ({"vector": [1.0]}, "invalid-vector"),
        ({"vector": []}, "invalid-vector"),
        ({"vector": ["a"] * DIM}, "invalid-query"),
        ({"vector": {"values": GOOD, "space": "another"}}, "space-mismatch"),
        ({"minus": "a"}, "invalid-query"),
        ({"text": "a", "minus": " "}, "invalid-query"),
        ({"text": "a", "minus_weight": 2}, "invalid-query"),
        ({"parts": [{}]}, "invalid-query"),
        ({"parts": [{"text": "a", "product_id": "b"}]}, "invalid-query"),
        ({"parts": [{"text": "a", "weight": 0}]}, "invalid-query"),
        ({"parts": [{"text": "a", "weight": -1}]}, "invalid-query"),
        ({"parts": [{"text": "a", "weight": 1.5}]}, "invalid-query"),
        ({"parts": [{"text": "a", "color": 1}]}, "unknown-field"),
        ({"parts": [{"text": "a"}] * 9}, "invalid-query"),
        ({"text": "a", "parts": [{"text": "b"}] * 8}, "invalid-query"),
        ({"parts": [{"text": "a", "crop": [0, 0, 1, 1]}]}, "invalid-query"),
        ({"text": "a", "parts": [{"text": "a", "weight": -1}]}, "invalid-query"),
        ({"text": "a", "regions": True}, "invalid-query"),
        ({"image": PICTURE, "crop": [0, 0, 1, 0.5], "regions": True}, "invalid-query"),
        ({"image": PICTURE, "images": [PICTURE], "regions": True}, "invalid-query"),
        ({"text": "a", "facets": ["a"] * 9}, "invalid-query"),
        ({"text": "a", "facets": [1]}, "invalid-query"),
        ({"text": "a", "partial": "perhaps"}, "invalid-query"),
        ({"product_id": "a\u0000"}, "invalid-product-id"),
        ({"filter": {}}, "invalid-query"),
        ({"filter": []}, "invalid-query"),
        ({"filter": {"price": {"above": 3}}}, "invalid-query"),
        ({"filter": {"color": None}}, "invalid-query"),
        ({"text": "a", "min_offset": "garbage"}, "invalid-query"),
        ({"text": "a", "min_offset": {"topic": "searches", "partition": 0, "offset": 1}}, "invalid-query"),
        ({"text": "a", "min_offset": {"topic": "index-log", "partition": 99, "offset": 1}}, "invalid-query"),
        ({"text": "a", "min_offset": {"topic": "product-added", "partition": -1, "offset": 1}}, "invalid-query"),
        ({"text": "a", "min_offset": {"topic": "product-added", "partition": 0}}, "invalid-query"),
        ({"text": "a", "session": "s" * 201}, "invalid-query"),
    ],
)  # fmt: skip
async def test_what_is_refused(api: Api, body: dict, code: str) -> None:
    problem = await search(api, 400, **body)
    assert problem["code"] == code, problem


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"k": "many"}, "invalid-query"),
        ({"kk": "1"}, "unknown-field"),
        ({"filter": "{"}, "invalid-query"),
        ({"filter": "[]"}, "invalid-query"),
        ({"crop": "1,2"}, "invalid-query"),
        ({"crop": "a,b,c,d"}, "invalid-query"),
        ({"crop": "nan,0,1,1"}, "invalid-query"),
        ({"min_offset": "!"}, "invalid-query"),
        ({"require": "perhaps"}, "invalid-query"),
        ({"facets": "a,b,c,d,e,f,g,h,i"}, "invalid-query"),
        ({"regions": "true", "crop": "0,0,1,0.5"}, "invalid-query"),
    ],
)
async def test_what_is_refused_beside_a_raw_picture(api: Api, parameters: dict, code: str) -> None:
    response = await api.client.post("/v1/search", data=JPEG, headers={"Content-Type": "image/jpeg"}, params=parameters)
    assert response.status == 400
    assert (await response.json())["code"] == code


def arriving_at(api: Api, offset: int, *products: ShardProduct, after_s: float = 0.15) -> str:
    """Have the shard apply so much once somebody waits for it; the read token that asks for it."""

    def arrive() -> float:
        api.clock.advance(after_s)
        api.shard.put(*products)
        api.shard.applied = {0: offset}
        return after_s * 1000

    api.shard.arriving = arrive
    return ReadToken((Position(LOG_ID, "index-log", 0, offset - 1),)).encode()


async def test_a_product_that_was_just_published_can_be_asked_about_with_its_token(api: Api) -> None:
    token = arriving_at(api, 20, shard_product("new", vector=vector_of("b")))
    answer = await search(api, product_id="new", min_offset=token, wait_ms=5000)
    assert answer["freshness_met"] is True
    assert ids(answer)[0] == "b", "its look is the new one"


async def test_a_look_up_that_is_older_than_asked_is_said(api: Api) -> None:
    token = ReadToken((Position(LOG_ID, "index-log", 0, 19),)).encode()
    assert (await search(api, product_id="a", min_offset=token))["freshness_met"] is False
    assert (await search(api, 412, product_id="a", min_offset=token, require=True))["code"] == "freshness-unmet"


@pytest.mark.parametrize("asked", [{"product_id": "a"}, {"text": "a"}])
async def test_waiting_for_freshness_takes_nothing_of_the_timeout(api: Api, asked: dict[str, str]) -> None:
    token = arriving_at(api, 20, after_s=0.29)
    answer = await search(api, **asked, min_offset=token, wait_ms=5000, timeout_ms=300, diversity=0.5)
    assert answer["freshness_met"] is True
    assert answer["warnings"] == []


async def test_a_shard_that_does_not_tell_of_a_product_is_waited_for_no_longer_than_the_timeout(api: Api) -> None:
    api.shard.answering = asyncio.Event()
    assert (await search(api, 504, product_id="a", timeout_ms=30))["code"] == "deadline-exceeded"
    await search(api, vector=vector_of("a").tolist(), timeout_ms=30)
    api.shard.answering.set()


async def test_a_token_of_too_many_positions_is_refused(api: Api) -> None:
    token = ReadToken(tuple(Position("", "product-added", number, 0) for number in range(5_000))).encode()
    problem = await search(api, 400, text="a", min_offset=token, wait_ms=1000)
    assert problem["code"] == "invalid-query"
    assert "5000 positions" in problem["detail"]


async def test_what_a_session_clicked_on_is_waited_for_no_longer_than_the_candidates(api: Api) -> None:
    click = {"query_id": "q", "product_id": "b", "position": 1, "kind": "click", "session": "s"}
    assert (await api.client.post("/v1/feedback", json=click)).status == 202
    api.shard.answering = asyncio.Event()
    async with asyncio.timeout(10):
        answer = await search(api, vector=vector_of("a").tolist(), session="s", timeout_ms=250)
    assert ids(answer)[0] == "a"
    assert any(isinstance(asked, ShardLookup) for asked in api.shard.asked), "it was asked for"
