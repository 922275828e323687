"""Ranking through the API: what callers may ask, what the answer says, and what stays as it was."""

import asyncio
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from query_api.access.keys import SEARCHER
from query_api.ranking.features import FEATURES
from query_api.ranking.options import DIVERSITY_SIMILAR
from query_api.ranking.rule_store import RuleBook, RuleStore
from query_api.ranking.rules import parse_rules
from query_api.ranking.settings import RankSettings, Weights
from schemas.errors import DeadlineExceeded
from schemas.feedback import Search
from schemas.shard import ShardAnswer, ShardSearch
from tests.unit.query_api.doubles import JPEG, Api, running_api, shard_product, vector_of
from topics.store import FileStore
from topics.thumbnails import put_thumbnails

QUERY = vector_of("query")


def near(share: float, other: str) -> np.ndarray:
    """A unit vector whose cosine with the query is about the share; those of one name lie close together."""
    aside = vector_of(other) - (vector_of(other) @ QUERY) * QUERY
    aside /= np.linalg.norm(aside)
    return (share * QUERY + np.sqrt(1 - share**2) * aside).astype(np.float32)


def products() -> list:
    return [
        shard_product("first", vector=near(0.90, "one"), attributes={"brand": "x"}, price=10.0),
        shard_product("twin", vector=near(0.89, "one"), attributes={"brand": "x"}, price=20.0),
        shard_product("third", vector=near(0.85, "two"), attributes={"brand": "own"}, price=30.0),
        shard_product("fourth", vector=near(0.80, "three"), attributes={"brand": "y"}, in_stock=False),
        shard_product("last", vector=near(0.10, "four"), attributes={"brand": "own"}, price=40.0),
    ]


async def search(api: Api, expect: int = 200, headers: dict | None = None, **body: object) -> dict:
    asked = {"vector": QUERY.tolist(), **body} if "text" not in body and "image" not in body else body
    response = await api.client.post("/v1/search", json=asked, headers=headers or {})
    assert response.status == expect, await response.text()
    answer: dict = await response.json()
    return answer


def ids(answer: dict) -> list[str]:
    return [result["product_id"] for result in answer["results"]]


def book(folder: Path, *rules: dict, tenant: str = "default") -> RuleBook:
    store = RuleStore(FileStore(folder / "store"))
    store.write(tenant, parse_rules(json.dumps({"rules": rules}).encode()), after=0, set_at_us=1)
    made = RuleBook(store)
    made.refresh()
    return made


def is_explained(answer: dict) -> bool:
    results = answer["results"]
    scores = [result["score"] for result in results]
    sums = [sum(result["why"]["stages"].values()) for result in results]
    return scores == sorted(scores, reverse=True) and sums == pytest.approx(scores, abs=1e-5)


async def test_by_default_nothing_changes_and_nothing_more_is_asked(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        api.shard.put(*products())
        answer = await search(api, k=3)
        assert ids(answer) == ["first", "twin", "third"]
        assert all(result["score"] == result["similarity"] for result in answer["results"])
        assert "why" not in answer["results"][0]
        assert "ranking" not in answer
        asked = api.shard.asked[-1]
        assert (asked.k, asked.with_vectors, asked.filter) == (3, False, None)
        assert len(api.shard.asked) == 1


async def test_explain_says_what_every_score_is_made_of(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        api.shard.put(*products())
        answer = await search(
            api, k=4, explain=True, diversity=0.4, prefer={"brand": "own"}, weights={"visual": 1, "fresh": 0.1}
        )
        assert is_explained(answer)
        assert answer["results"][0]["why"]["stages"].keys() == {"visual", "attributes", "fresh", "diversity"}
        assert answer["ranking"] == {
            "weights": {"visual": 1.0, "attributes": 0.2, "personal": 0.1, "fresh": 0.1, "agreement": 0.0},
            "diversity": 0.4,
            "rules_version": 0,
            "retrieved": 5,
        }
        assert {"rank_linear", "rank_diversity"} <= answer["timings_ms"].keys()


async def test_candidates_are_retrieved_when_a_stage_can_reorder(tmp_path: Path) -> None:
    async with running_api(tmp_path, rank=RankSettings(retrieved=77)) as api:
        api.shard.put(*products())
        for body, wanted, vectors in (
            ({"diversity": 0.2}, 77, True),
            ({"weights": {"fresh": 0.1}}, 77, False),
            ({"prefer": {"brand": "own"}}, 77, False),
            ({"weights": {"attributes": 1}}, 2, False),
            ({"explain": True}, 2, False),
            ({"mode": "exact"}, 2, False),
            ({"mode": "similar"}, 77, True),
        ):
            await search(api, k=2, **body)
            assert (api.shard.asked[-1].k, api.shard.asked[-1].with_vectors) == (wanted, vectors), body


async def test_diversity_and_modes(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        api.shard.put(*products())
        assert ids(await search(api, k=2, diversity=0.5)) == ["first", "third"]
        similar = await search(api, k=2, mode="similar", explain=True)
        assert similar["ranking"]["diversity"] == DIVERSITY_SIMILAR
        assert api.shard.asked[-1].collapse is True
        assert ids(await search(api, k=2, mode="exact")) == ["first", "twin"]
        assert (await search(api, 400, mode="exact", diversity=0.5))["code"] == "invalid-query"


@pytest.mark.parametrize(
    "body",
    [
        {"diversity": 1.1},
        {"weights": {"visual": 11}},
        {"weights": {"visual": -1}},
        {"weights": {"luck": 1}},
        {"mode": "other"},
        {"prefer": {}},
        {"prefer": {"price": {"over": 1}}},
        {"verify": "yes"},
    ],
)
async def test_what_is_refused(api: Api, body: dict) -> None:
    assert (await search(api, 400, **body))["code"] in ("invalid-query", "unknown-field")


async def test_equal_requests_have_equal_answers(tmp_path: Path) -> None:
    async with running_api(tmp_path, shards=2) as api:
        for number, product in enumerate(products()):
            api.shards[number % 2].put(product)
        asked = {"diversity": 0.3, "prefer": {"brand": "own"}, "explain": True}
        one, other = await search(api, **asked), await search(api, **asked)
        assert one["results"] == other["results"]


async def test_rules_are_applied_and_shown(tmp_path: Path) -> None:
    rules = book(
        tmp_path,
        {"name": "campaign", "action": "pin", "products": ["last", "gone", "absent"]},
        {"name": "own brand", "action": "boost", "where": {"brand": "own"}, "by": 0.2},
        {"name": "not that one", "action": "bury", "products": ["first"]},
    )
    async with running_api(tmp_path, rules=rules) as api:
        api.shard.put(*products(), shard_product("gone", version=1, deleted=2))
        answer = await search(api, k=5, explain=True)
        assert ids(answer) == ["last", "third", "twin", "fourth", "first"]
        assert is_explained(answer)
        assert answer["ranking"]["rules_version"] == 1
        assert answer["results"][0]["why"]["rules"] == ["own brand", "campaign"]
        assert answer["results"][-1]["why"]["rules"] == ["not that one"]
        filtered = await search(api, k=5, filter={"brand": "x"})
        assert ids(filtered) == ["twin", "first"]
        other = await search(api, k=5, headers={}, product_id="last", vector=None)
        assert "last" not in ids(other), "more like this is not this"


async def test_a_pin_is_fetched_from_beyond_what_is_retrieved(tmp_path: Path) -> None:
    rules = book(tmp_path, {"name": "campaign", "action": "pin", "products": ["last"], "position": 2})
    async with running_api(tmp_path, rules=rules) as api:
        api.shard.put(*products())
        assert ids(await search(api, k=2)) == ["first", "last"]
        assert ids(await search(api, k=2, filter={"price": {"lt": 35}})) == ["first", "twin"]


async def test_a_pin_comes_from_no_older_view_than_the_candidates(tmp_path: Path) -> None:
    rules = book(tmp_path, {"name": "campaign", "action": "pin", "products": ["last"]})
    async with running_api(tmp_path, rules=rules) as api:
        api.shard.put(*products())
        assert ids(await search(api, k=1)) == ["last"]
        search_asked, pins_asked = api.shard.asked
        assert isinstance(pins_asked, ShardSearch)
        assert (search_asked.min_applied, pins_asked.min_applied) == ({}, api.shard.applied)
        answered = api.shard.search

        async def from_behind(request: ShardSearch) -> ShardAnswer:
            answer = await answered(request)
            return msgspec.structs.replace(answer, freshness_met=not request.min_applied)

        api.shard.search = from_behind  # type: ignore[method-assign]
        assert ids(await search(api, k=1)) == ["first"], "an older view may know what was deleted since"


async def test_a_shard_that_hangs_takes_the_time_of_a_search_once_and_not_again_for_its_pins(tmp_path: Path) -> None:
    rules = book(tmp_path, {"name": "campaign", "action": "pin", "products": ["last"]})
    async with running_api(tmp_path, shards=2, rules=rules) as api:
        api.shard.put(*products())
        asked = []

        async def hangs(request: ShardSearch) -> ShardAnswer:
            asked.append(request.timeout_ms)
            if len(asked) > 1:
                await asyncio.Event().wait()
            api.clock.advance(request.timeout_ms / 1000)
            raise DeadlineExceeded("it hangs")

        api.shards[1].search = hangs  # type: ignore[method-assign]
        answer = await search(api, k=2, timeout_ms=1_000)
        assert (ids(answer), answer["shards"]["answered"]) == (["last", "first"], 1)
        assert asked == [990, 50]


async def test_pins_of_another_tenant_move_nothing(tmp_path: Path) -> None:
    rules = book(tmp_path, {"name": "campaign", "action": "pin", "products": ["last"]}, tenant="other")
    async with running_api(tmp_path, rules=rules) as api:
        api.shard.put(*products())
        assert ids(await search(api, k=1)) == ["first"]


async def test_no_match_stays_no_match_whatever_is_pinned(tmp_path: Path) -> None:
    rules = book(tmp_path, {"name": "campaign", "action": "pin", "products": ["last"]})
    async with running_api(tmp_path, rules=rules, thresholds={"text": 0.99}) as api:
        api.shard.put(*products())
        answer = await search(api, text="something else")
        assert (answer["results"], answer["no_match"]) == ([], True)


@pytest.mark.parametrize(("rule", "expected"), [("last", "fourth"), ("hidden", None), ("as-is", "last")])
async def test_out_of_stock_is_a_rule(tmp_path: Path, rule: str, expected: str | None) -> None:
    settings = RankSettings(out_of_stock=rule)  # type: ignore[arg-type]
    rules = book(tmp_path, {"name": "campaign", "action": "pin", "products": ["fourth"], "position": 4})
    async with running_api(tmp_path, rank=settings, rules=rules) as api:
        api.shard.put(*products())
        answer = await search(api, k=5, explain=True)
        found = ids(answer)
        assert is_explained(answer)
        assert found[-1] == (expected or "last")
        assert ("fourth" in found) is (expected is not None)
        why = await (
            await api.client.post("/v1/why-not", json={"vector": QUERY.tolist(), "product_id": "fourth"})
        ).json()
        assert why["reason"] == ("out-of-stock" if rule == "hidden" else "shown")


async def test_a_session_likes_what_it_clicked_on(tmp_path: Path) -> None:
    async with running_api(tmp_path, rank=RankSettings(weights=Weights(personal=1.0))) as api:
        api.shard.put(*products())
        click = {"query_id": "q", "product_id": "last", "position": 1, "kind": "click", "session": "s"}
        plain = ids(await search(api, session="s"))
        await api.client.post("/v1/feedback", json=click)
        personal = await search(api, session="s", explain=True)
        assert plain[-1] == "last"
        assert ids(personal)[0] == "last"
        assert is_explained(personal)
        assert personal["results"][0]["why"]["stages"]["personal"] == pytest.approx(1, abs=2e-3)
        assert ids(await search(api, session="s", personalise=False)) == plain
        assert ids(await search(api, session="s", headers={"DNT": "1"})) == plain
        assert ids(await search(api, session="another")) == plain
        assert ids(await search(api)) == plain
        await api.client.post("/v1/feedback", json=click, headers={"Sec-GPC": "1"})
        assert ids(await search(api, session="s")) == plain, "who is not to be tracked is forgotten"


async def test_a_click_on_what_is_deleted_since_counts_nothing(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        api.shard.put(*products(), shard_product("gone", version=1, deleted=2))
        click = {"query_id": "q", "product_id": "gone", "position": 1, "kind": "click", "session": "s"}
        await api.client.post("/v1/feedback", json=click)
        assert ids(await search(api, session="s"))[0] == "first"


async def test_a_late_search_leaves_out_what_can_be_left_out(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        api.shard.put(*products())
        answer = await search(api, diversity=0.5, timeout_ms=5, k=2)
        assert ids(answer) == ["first", "twin"]
        assert any(warning.startswith("skipped: diversity:") for warning in answer["warnings"])
        assert api.metrics.values["freshlens_rank_skipped_total", (("stage", "diversity"),)] == 1


@pytest.mark.parametrize(("timeout_ms", "step"), [(10_000, None), (20, "probes")])
async def test_what_must_not_be_shown_is_not_shown_when_time_is_short(
    tmp_path: Path, timeout_ms: int, step: str | None
) -> None:
    rules = book(tmp_path, {"name": "recalled", "action": "bury", "products": ["first"]})
    async with running_api(tmp_path, rules=rules, rank=RankSettings(out_of_stock="last")) as api:
        api.shard.put(*products())
        answer = await search(api, timeout_ms=timeout_ms, k=3)
        assert ids(answer) == ["twin", "third", "last"]
        assert any(f"degraded: {step}" in warning for warning in answer.get("warnings", [])) is (step is not None)


class Model:
    """Likes the dear ones, and can fail."""

    name = "dear"
    fails = False

    def predict(self, features: np.ndarray) -> np.ndarray:
        if self.fails:
            raise RuntimeError("no")
        return np.nan_to_num(features[:, FEATURES.index("price")]).astype(np.float64) / 100


async def test_the_learned_stage_and_what_is_logged(tmp_path: Path) -> None:
    model = Model()
    async with running_api(tmp_path, model=model) as api:
        api.shard.put(*products())
        answer = await search(api, k=3, explain=True)
        assert ids(answer) == ["last", "third", "twin"]
        assert is_explained(answer)
        record = next(record for topic, record in api.records() if topic == "searches")
        assert isinstance(record, Search)
        assert record.feature_names == FEATURES
        row = dict(zip(FEATURES, record.shown[0].features, strict=True))
        assert (row["price"], row["in_stock"]) == (40.0, 1.0)
        assert row["similarity"] == pytest.approx(0.1, abs=2e-3)
        model.fails = True
        answer = await search(api, k=3)
        assert ids(answer) == ["first", "twin", "third"]
        assert "skipped: learned: the model failed: RuntimeError" in answer["warnings"]


async def test_features_are_logged_as_set(tmp_path: Path) -> None:
    for is_set, folder in ((True, "a"), (False, "b")):
        async with running_api(tmp_path / folder, rank=RankSettings(log_features=is_set)) as api:
            api.shard.put(*products())
            await search(api, k=3)
            record = next(record for topic, record in api.records() if topic == "searches")
            assert isinstance(record, Search)
            assert [len(shown.features) for shown in record.shown] == [len(FEATURES) if is_set else 0] * 3


class Comparer:
    """Knows that the third shows the same as the query."""

    def __init__(self) -> None:
        self.calls = 0

    async def inliers(self, query: bytes, crop: object, candidates: list[bytes]) -> list[int]:
        self.calls += 1
        return [80 if raw == b"third" else 2 for raw in candidates]


async def test_geometry_on_request_and_at_the_border(tmp_path: Path) -> None:
    comparer = Comparer()
    rank = RankSettings(verify_margin=0.05)
    async with running_api(tmp_path, comparer=comparer, rank=rank, thresholds={"image": 0.5}) as api:
        for number, (name, share) in enumerate((("first", 0.9), ("second", 0.8), ("third", 0.7))):
            picture = bytes([number]) * 16
            vector = share * vector_of(JPEG) + np.sqrt(1 - share**2) * vector_of(name)
            api.shard.put(
                shard_product(name, vector=(vector / np.linalg.norm(vector)).astype(np.float32), content_hash=picture)
            )
            put_thumbnails(api.store, "default", picture.hex(), {512: name.encode()})
        picture = {"Content-Type": "image/jpeg"}
        plain = await (await api.client.post("/v1/search", data=JPEG, headers=picture)).json()
        assert (plain["results"][0]["product_id"], comparer.calls) == ("first", 0)
        asked = {"verify": "true", "explain": "true"}
        verified = await (await api.client.post("/v1/search", data=JPEG, headers=picture, params=asked)).json()
        assert {"first", "third"} == {result["product_id"] for result in verified["results"][:2]}
        assert is_explained(verified)
        facts = {result["product_id"]: result["why"]["inliers"] for result in verified["results"]}
        assert facts == {"first": 2, "second": 2, "third": 80}
        assert comparer.calls == 1
        without = await search(api, verify=True)
        assert "skipped: geometry: the query has no picture to compare" in without["warnings"]
        like = await (await api.client.post("/v1/search", json={"product_id": "third", "verify": True})).json()
        assert "third" not in ids(like)
        assert comparer.calls == 2


async def test_a_hardly_clear_match_is_verified_unasked(tmp_path: Path) -> None:
    comparer = Comparer()
    for margin, calls in ((0.3, 1), (0.01, 1)):
        rank = RankSettings(verify_margin=margin)
        async with running_api(tmp_path, comparer=comparer, rank=rank, thresholds={"image": 0.8}) as api:
            api.shard.put(shard_product("a", vector=vector_of(JPEG), content_hash=b"\x01" * 16))
            await api.client.post("/v1/search", data=JPEG, headers={"Content-Type": "image/jpeg"})
            assert comparer.calls == calls, "a similarity of 1 is 0.2 above the threshold"


async def test_why_not_names_the_stage_that_decided(tmp_path: Path) -> None:
    rules = book(tmp_path, {"name": "not that one", "action": "bury", "products": ["first"]})
    async with running_api(tmp_path, rules=rules) as api:
        api.shard.put(*products())

        async def why(product_id: str, **body: object) -> dict:
            asked = {"vector": QUERY.tolist(), "product_id": product_id, **body}
            answer: dict = await (await api.client.post("/v1/why-not", json=asked)).json()
            return answer

        buried = await why("first", k=2)
        assert (buried["reason"], buried["position"], buried["rules"]) == ("ranked-out", 5, ["not that one"])
        assert buried["stages"]["bury"] < 0
        assert "bury" in buried["detail"]
        assert buried["remedy"] == "other business rules, or k of at least 5"
        assert buried["weights"]["visual"] == 1.0
        assert (await why("last", k=2))["remedy"] == "k of at least 4"
        assert (await why("twin", k=2))["reason"] == "shown"


async def test_why_not_names_diversity(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        api.shard.put(*products())
        asked = {"vector": QUERY.tolist(), "product_id": "twin", "k": 2, "diversity": 0.5}
        spread = await (await api.client.post("/v1/why-not", json=asked)).json()
        assert spread["reason"] == "ranked-out"
        assert spread["remedy"].startswith('a search with "diversity": 0')


async def test_searcher_is_shared_with_feedback(tmp_path: Path) -> None:
    async with running_api(tmp_path, rank=RankSettings(log_features=True)) as api:
        api.shard.put(*products())
        await search(api, k=1)
        seen = api.client.app[SEARCHER].ranker.seen
        before = seen.rate("default", "first")
        click = {"query_id": "q", "product_id": "first", "position": 1, "kind": "click"}
        await api.client.post("/v1/feedback", json=click)
        assert seen.rate("default", "first") > before
