"""Queries made of several things: their weights, their sum, and what they may not be."""

import base64

import numpy as np
import pytest

from query_api.query.parts import Given, Part, composed, modality_of, weighted
from schemas.errors import InvalidQuery
from tests.unit.query_api.doubles import JPEG, Api, shard_product, vector_of
from tests.unit.query_api.test_search import ids, search

OTHER = b"\xff\xd8\xff another picture"
A, B = Part(image=b"a"), Part(product_id="b")


def picture(raw: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(raw).decode()}


def mixed(*vectors: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    total = np.sum(vectors, axis=0)
    return np.asarray(total / np.linalg.norm(total), np.float32)


@pytest.mark.parametrize(
    ("given", "weights", "modality"),
    [
        (Given([]), [], "filter"),
        (Given([A]), [1.0], "image"),
        (Given([], "t", 0.0), [1.0], "text"),
        (Given([A], "t", 0.3), [0.7, 0.3], "image+text"),
        (Given([A, A], "t", 0.5), [0.25, 0.25, 0.5], "image+text"),
        (Given([A, B]), [0.5, 0.5], "image+product"),
        (Given([A], "t", 0.0), [1.0], "image"),
        (Given([A], "t", 1.0), [1.0], "text"),
        (Given([A], minus="n", minus_weight=0.4), [1.0, -0.4], "image-text"),
        (Given([A], "t", 0.5, "n", 0.0), [0.5, 0.5], "image+text"),
        (Given([], parts=[Part(text="t", weight=0.2), Part(image=b"x", weight=-0.1)]), [0.2, -0.1], "text-image"),
    ],
)
def test_weights(given: Given, weights: list[float], modality: str) -> None:
    parts = weighted(given)
    assert [part.weight for part in parts] == pytest.approx(weights)
    assert modality_of(parts) == modality


@pytest.mark.parametrize(
    "given", [Given([], minus="n"), Given([], parts=[Part(text="t", weight=-1.0)]), Given([A] * 9)]
)
def test_what_is_no_query(given: Given) -> None:
    with pytest.raises(InvalidQuery):
        weighted(given)


def test_a_sum_has_unit_norm_and_opposites_are_refused() -> None:
    one, other = vector_of("one"), vector_of("other")
    total = composed([one, other], [0.7, -0.3])
    assert float(np.linalg.norm(total)) == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(total, mixed(0.7 * one, -0.3 * other), atol=1e-6)
    assert composed([one], [0.2]) is one
    with pytest.raises(InvalidQuery, match="opposite"):
        composed([one, one], [0.5, -0.5])


async def test_like_this_but(api: Api) -> None:
    dress, red, long = vector_of(JPEG), vector_of("red"), vector_of("long")
    api.shard.put(
        shard_product("red-short", vector=mixed(dress, red, -0.9 * long)),
        shard_product("red-long", vector=mixed(dress, red, long)),
        shard_product("plain", vector=dress),
    )
    body = {"image": picture(JPEG), "text": "red", "minus": "long", "minus_weight": 0.5, "k": 1}
    assert ids(await search(api, **body)) == ["red-short"]
    assert ids(await search(api, image=picture(JPEG), text="red", minus="long", minus_weight=0, k=2)) != ["red-short"]
    parts = [{"image": picture(JPEG)}, {"text": "red"}, {"text": "long", "weight": -1.0}]
    assert ids(await search(api, parts=parts, k=1)) == ["red-short"]


async def test_several_pictures_and_a_product(api: Api) -> None:
    api.shard.put(shard_product("both", vector=mixed(vector_of(JPEG), vector_of(OTHER))))
    assert ids(await search(api, images=[picture(JPEG), picture(OTHER)], k=1)) == ["both"]
    assert ids(await search(api, image=picture(JPEG), images=[picture(OTHER)], k=1)) == ["both"]
    api.shard.put(shard_product("near-a", vector=mixed(vector_of("a"), vector_of("blue"))))
    found = await search(api, product_id="a", text="blue", k=2)
    assert ids(found)[0] == "near-a"
    assert "a" not in ids(found), "what is asked about is no answer"
    found = await search(api, product_id="a", parts=[{"product_id": "b", "weight": -0.5}], k=10)
    assert not {"a", "b"} & set(ids(found))


async def test_a_vector_with_a_text(api: Api) -> None:
    api.shard.put(shard_product("both", vector=mixed(vector_of("v"), vector_of("t"))))
    assert ids(await search(api, vector=vector_of("v").tolist(), text="t", k=1)) == ["both"]


async def test_a_crop_belongs_to_its_picture(api: Api) -> None:
    parts = [{"image": picture(JPEG), "crop": [0.5, 0, 0.5, 1]}, {"image": picture(OTHER)}]
    await search(api, parts=parts)
    assert [request.crop for request in api.encoder.asked] == [(0.5, 0.0, 0.5, 1.0), None]


async def test_a_picture_and_a_text_travel_together(api: Api) -> None:
    await search(api, image=picture(JPEG), text="red", minus="long")
    assert [(request.image is not None, request.text) for request in api.encoder.asked] == [
        (True, "red"),
        (False, "long"),
    ]
