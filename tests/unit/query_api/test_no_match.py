"""No match, and why: thresholds, pictures that show nothing, and the nearest on request."""

from pathlib import Path

import numpy as np
import pytest

from query_api.query import picture_gate
from tests.unit.query_api.doubles import Api, running_api, shard_product
from tests.unit.query_api.test_query_parts import JPEG, picture
from tests.unit.query_api.test_search import ids, search

RANDOM = np.random.default_rng(1)


@pytest.mark.parametrize("size", [64, 128, 224, 336])
def test_noise_is_told_from_pictures(size: int) -> None:
    noise = RANDOM.integers(0, 256, (size, size, 3)).astype(np.uint8)
    assert picture_gate.is_noise(noise)
    assert not picture_gate.is_noise(np.full((size, size, 3), 7, np.uint8)), "blank is something else"
    ramp = np.linspace(0, 255, size).astype(np.uint8)
    assert not picture_gate.is_noise(np.broadcast_to(ramp[:, None, None], (size, size, 3)).copy())
    shape = noise // 16
    shape[size // 4 : size // 2, size // 4 :] += 200
    assert not picture_gate.is_noise(shape), "an object in a noisy picture"


@pytest.mark.parametrize(
    ("pictures", "hopeless"),
    [
        ([], False),
        ([()], False),
        ([("blank",)], True),
        ([("dark",)], False),
        ([("noise", "dark"), ("blank",)], True),
        ([("blank",), ()], False),
    ],
)
def test_hopeless(pictures: list[tuple[str, ...]], hopeless: bool) -> None:
    assert picture_gate.is_hopeless(pictures) is hopeless


async def test_a_blank_picture_finds_nothing_and_says_why(api: Api) -> None:
    api.encoder.flags = ("blank", "blurred")
    answer = await search(api, image=picture(JPEG))
    assert (answer["results"], answer["no_match"]) == ([], True)
    assert [warning.partition(":")[0] for warning in answer["warnings"]] == ["picture-blank", "picture-blurred"]
    assert "limited_matches" not in answer
    assert len((await search(api, image=picture(JPEG), limited_matches=True))["limited_matches"]) == 3
    assert ids(await search(api, image=picture(JPEG), text="red")), "the text is something to go by"


async def test_a_blurred_picture_is_only_warned_of(api: Api) -> None:
    api.encoder.flags = ("blurred",)
    answer = await search(api, image=picture(JPEG))
    assert len(answer["results"]) == 3
    assert answer["warnings"][0].startswith("picture-blurred: ")


async def test_limited_matches_are_the_nearest(tmp_path: Path) -> None:
    async with running_api(tmp_path, thresholds={"text": 0.9}) as api:
        api.shard.put(shard_product("a"), shard_product("b"))
        below = await search(api, text="something else", limited_matches=True)
        assert below["results"] == []
        assert sorted(each["product_id"] for each in below["limited_matches"]) == ["a", "b"]
        assert [each["position"] for each in below["limited_matches"]] == [1, 2]
        above = await search(api, text="a", limited_matches=True)
        assert ids(above) == ["a", "b"]
        assert "limited_matches" not in above


async def test_each_object_has_results_of_its_own(api: Api) -> None:
    api.encoder.boxes = ((0.1, 0.0, 0.4, 1.0), (0.5, 0.0, 0.5, 1.0))
    api.shard.put(shard_product("left", vector=None), shard_product("right"))
    answer = await search(api, image=picture(JPEG), regions=True, k=2, facets=["color"])
    assert [region["box"] for region in answer["regions"]] == [[0.1, 0.0, 0.4, 1.0], [0.5, 0.0, 0.5, 1.0]]
    assert [len(region["results"]) for region in answer["regions"]] == [2, 2]
    assert {request.crop for request in api.encoder.asked} == {None, *api.encoder.boxes}
    assert "facets" in answer
    api.encoder.boxes = ()
    assert (await search(api, image=picture(JPEG), regions=True))["regions"] == []
    assert "regions" not in await search(api, image=picture(JPEG))


async def test_where_objects_are_is_told_without_a_search(api: Api) -> None:
    api.encoder.boxes = ((0.1, 0.0, 0.4, 1.0),)
    response = await api.client.post("/v1/regions", json={"image": picture(JPEG)})
    assert await response.json() == {"boxes": [[0.1, 0.0, 0.4, 1.0]]}
    assert (await api.client.post("/v1/regions", json={"image": None})).status == 400


async def test_partial_may_be_forbidden(tmp_path: Path) -> None:
    async with running_api(tmp_path, shards=2) as api:
        api.shards[0].put(shard_product("a"))
        api.shards[1].is_dead = True
        assert ids(await search(api, text="a", partial="allow")) == ["a"]
        problem = await search(api, 503, text="a", partial="forbid")
        assert (problem["code"], problem["detail"][:6]) == ("shard-unavailable", "1 of 2")
        api.shards[1].is_dead = False
        assert ids(await search(api, text="a", partial="forbid")) == ["a"]
