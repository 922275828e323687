"""Facets and fields over several shards: counts are summed, and what exists anywhere may be asked for everywhere."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query_api.query.fields import check_declared, check_known
from query_api.search.facets import SHOWN_MAX, merged
from schemas.errors import FilterType, UnknownField
from schemas.fields import Kind
from schemas.filters import parse_filter
from schemas.shard import ShardAnswer, ShardFacet, ShardSearch, ShardState
from schemas.tenants import TenantDeclaration
from tests.unit.query_api.doubles import Api, running_api, shard_product, vector_of
from tests.unit.query_api.test_search import ids, search

COLOURS = ShardFacet(kind="string", values=(("red", 2), ("blue", 1)), distinct=2)
PRICES = ShardFacet(kind="number", values=((5, 2), (7.5, 1)), distinct=2, least=5.0, greatest=7.5)


async def test_facets_of_all_shards_together(tmp_path: Path) -> None:
    async with running_api(tmp_path, shards=2) as api:
        api.shards[0].facets = {"color": COLOURS, "price": PRICES}
        more = ShardFacet(kind="string", values=(("blue", 5),), distinct=1)
        api.shards[1].facets = {"color": more}
        answer = await search(api, vector=vector_of("a").tolist(), facets=["price", "color"])
        assert list(answer["facets"]) == ["price", "color"]
        assert answer["facets"]["color"] == {
            "kind": "string",
            "values": [{"value": "blue", "count": 6}, {"value": "red", "count": 2}],
            "distinct": 2,
            "exact": True,
            "least": None,
            "greatest": None,
        }
        assert (answer["facets"]["price"]["least"], answer["facets"]["price"]["greatest"]) == (5.0, 7.5)
        assert "facets" not in await search(api, vector=vector_of("a").tolist())


async def test_facets_beside_a_raw_picture(api: Api) -> None:
    api.shard.facets = {"color": COLOURS}
    headers = {"Content-Type": "image/jpeg"}
    response = await api.client.post("/v1/search", data=b"\xff\xd8", headers=headers, params={"facets": "color, price"})
    assert list((await response.json())["facets"]) == ["color", "price"]


def counts(kind: str, values: dict[object, int]) -> dict[str, ShardFacet]:
    ordered = sorted(values.items(), key=lambda each: (-each[1], str(each[0])))
    return {"f": ShardFacet(kind=kind, values=tuple(ordered), distinct=len(values))}  # type: ignore[arg-type]


@given(st.lists(st.dictionaries(st.text(max_size=2), st.integers(1, 9), max_size=150), max_size=4))
def test_merged_counts_are_the_sums(shards: list[dict[str, int]]) -> None:
    facet = merged([counts("string", dict(values)) for values in shards], ["f"])["f"]
    sums: dict[str, int] = {}
    for values in shards:
        for value, count in values.items():
            sums[value] = sums.get(value, 0) + count
    expected = sorted(sums.items(), key=lambda each: (-each[1], each[0]))[:SHOWN_MAX]
    assert [(each.value, each.count) for each in facet.values] == expected
    assert facet.exact
    assert facet.distinct == len(sums)


def test_what_several_shards_left_out_is_not_exact() -> None:
    cut = {"f": ShardFacet(kind="string", values=(("a", 3),), distinct=2)}
    assert merged([cut], ["f"])["f"].exact, "of one shard, the first are the first"
    assert not merged([cut, counts("string", {"b": 1})], ["f"])["f"].exact
    assert merged([], ["f"])["f"].values == []
    assert not merged([cut], ["f"], is_partial=True)["f"].exact, "another shard did not answer"


def test_true_and_one_are_two_values() -> None:
    facet = merged([counts("boolean", {True: 1}), counts("number", {1: 2, 2.5: 2})], ["f"])["f"]
    assert {(str(each.value), each.count) for each in facet.values} == {("1", 2), ("2.5", 2), ("True", 1)}


async def test_a_field_that_one_shard_never_saw(tmp_path: Path) -> None:
    async with running_api(tmp_path, shards=2) as api:
        api.shards[0].put(shard_product("a", attributes={"color": "red"}))
        api.shards[0].fields, api.shards[1].fields = frozenset({"color"}), frozenset({"size"})
        assert ids(await search(api, filter={"color": "red"})) == ["a"]
        problem = await search(api, 400, filter={"any": [{"colour": "red"}, {"brand": "x"}]})
        assert problem["code"] == "unknown-field"
        assert problem["detail"] == "no product has 'brand' and 'colour'; fields are color, size"
        api.shards[0].is_dead = True
        assert (await search(api, filter={"color": "red"}))["shards"]["answered"] == 1, "the missing shard may know it"


def answer_of(kinds: dict[str, tuple[Kind, ...]] | None) -> ShardAnswer:
    state = ShardState(shard=0, generation=1, applied={}, lag_ms=0, stale=False, log_id="log")
    return ShardAnswer(state=state, hits=(), total_candidates=0, freshness_met=True, search_ms=0.1, kinds=kinds)


def asking(filter_: object, *preferred: str) -> ShardSearch:
    return ShardSearch(
        lane="blue",
        layout_id="l",
        tenant="shop",
        filter=parse_filter(filter_) if filter_ else None,
        preferred=preferred,
    )


def test_a_value_fits_where_any_shard_has_its_kind() -> None:
    words, numbers = answer_of({"size": (Kind.STRING,)}), answer_of({"size": (Kind.NUMBER,), "new": (Kind.BOOLEAN,)})
    for filter_ in ({"size": 42}, {"size": "M"}, {"size": ["M", 42]}, {"not": {"new": True}}):
        check_known(asking(filter_), [words, numbers], {})
    with pytest.raises(FilterType, match="'size' is a number or string, and"):
        check_known(asking({"any": [{"new": True}, {"size": [42, True]}]}), [words, numbers], {})
    with pytest.raises(FilterType, match="'size' is a string, and"):
        check_known(asking({"size": {"gte": 1}}), [words, words], {})
    check_known(asking({"size": {"gte": 1}}), [words, answer_of(None)], {})  # a shard that has it all
    check_known(asking({"size": True}), [words, numbers], {"size"})
    check_known(asking({"size": True}), [answer_of({}), answer_of({})], {})
    with pytest.raises(UnknownField, match="no product has 'colour'; fields are new, size"):
        check_known(asking({"size": True}, "colour"), [words, numbers], {})
    check_known(asking(None, "new"), [words, numbers], {})


async def test_an_empty_tenant_may_be_asked_anything(tmp_path: Path) -> None:
    async with running_api(tmp_path, shards=2) as api:
        for shard in api.shards:
            shard.fields = frozenset()
        assert (await search(api, filter={"colour": "red"}))["no_match"] is True


async def test_what_is_declared_exists_and_has_its_type(api: Api) -> None:
    api.shard.fields = frozenset({"color"})
    api.tenants.declared["default"] = TenantDeclaration("default", attributes={"width": "integer", "tags": "strings"})
    assert ids(await search(api, filter={"width": {"gte": 3}})) == []
    problem = await search(api, 400, filter={"width": "wide"})
    assert (problem["code"], "declared as integer" in problem["detail"]) == ("filter-type", True)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("boolean", [True], [1, "x", {"gte": 1}, {"gte": True}]),
        ("integer", [1, 2.5, {"lt": 4}], [True, "x"]),
        ("number", [1, [1, 2.5]], ["x", [1, "x"]]),
        ("string", ["x", {"gte": "a"}], [1, False, {"gt": 1}]),
        ("strings", ["x", ["x", "y"]], [1]),
    ],
)
def test_declared_types(kind: str, good: list, bad: list) -> None:
    for value in good:
        check_declared(parse_filter({"not": {"f": value}}), {"f": kind})
    for value in bad:
        try:
            filter_ = parse_filter({"all": [{"g": 1}, {"f": value}]})
        except Exception:
            continue
        with pytest.raises(FilterType):
            check_declared(filter_, {"f": kind})


@pytest.mark.parametrize(
    ("filter_", "said"),
    [
        ({"price": "cheap"}, "'price' is a number"),
        ({"in_stock": 1}, "'in_stock' is a boolean"),
        ({"in_stock": {"gte": 1}}, "a range"),
        ({"product_id": {"gte": "a"}}, "a range"),
        ({"product_id": 7}, "'product_id' is a string"),
        ({"title": ["x", True]}, "'title' is a string"),
    ],
)
async def test_built_in_fields_have_one_kind(api: Api, filter_: dict[str, object], said: str) -> None:
    problem = await search(api, 400, filter=filter_)
    assert problem["code"] == "filter-type"
    assert said in problem["detail"]
    assert not api.shard.asked


async def test_a_field_that_no_product_has_is_without_values(api: Api) -> None:
    api.shard.put(shard_product("a"))
    api.shard.fields = frozenset({"color"})
    api.shard.facets = {"color": COLOURS}
    answer = await search(api, vector=vector_of("a").tolist(), facets=["color", "colour"])
    assert answer["facets"]["colour"]["kind"] is None
    assert answer["facets"]["colour"]["values"] == []
    assert answer["facets"]["color"]["values"]


async def test_the_list_of_products_is_filtered_and_counted_too(api: Api) -> None:
    api.shard.put(shard_product("a", attributes={"color": "teal"}), shard_product("b", attributes={"color": "blue"}))
    api.shard.facets = {"color": COLOURS}
    params = {"filter": '{"color": "teal"}', "facets": "color"}
    page = await (await api.client.get("/v1/products", params=params)).json()
    assert [each["product_id"] for each in page["products"]] == ["a"]
    assert list(page["facets"]) == ["color"]
    assert "facets" not in await (await api.client.get("/v1/products")).json()
    assert (await api.client.get("/v1/products", params={"filter": "no JSON"})).status == 400
    assert api.records() == []


async def test_a_page_of_products_says_that_a_shard_is_missing(tmp_path: Path) -> None:
    async with running_api(tmp_path, shards=2) as api:
        api.shards[0].put(shard_product("a"))
        api.shards[0].facets = {"color": COLOURS}
        api.shards[1].is_dead = True
        page = await (await api.client.get("/v1/products", params={"facets": "color"})).json()
        assert [each["product_id"] for each in page["products"]] == ["a"]
        assert page["shards"] == {"answered": 1, "total": 2}
        assert page["facets"]["color"]["exact"] is False
