"""The OpenAPI document says everything, with examples that are true: valid by its schemas, and taken by the API."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from query_api.openapi.page import the_document
from query_api.problems import error_of, status_of
from query_api.routes.products import ProductBody
from schemas.product_lines import IDENTITY_KEYS, OFFER_KEYS, VIEW_KEYS
from tests.unit.query_api.doubles import JPEG, Api, shard_product

DOCUMENT = the_document()
COMPONENTS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATIONS: dict[str, dict[str, Any]] = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
SEARCH = OPERATIONS["POST /v1/search"]


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and every schema within it."""
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from parts(value)
    if isinstance(schema, list):
        for value in schema:
            yield from parts(value)


def contents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything that is sent or answered as JSON: where, and its media type object."""
    for name, operation in OPERATIONS.items():
        bodies = operation.get("requestBody", {}).get("content", {})
        yield from ((f"{name} {media}", content) for media, content in bodies.items() if "json" in media)
        for status, response in operation["responses"].items():
            told = response["content"].items()
            yield from ((f"{name} {status} {media}", content) for media, content in told if "json" in media)


def examples_of(content: dict[str, Any]) -> list[Any]:
    return [each["value"] for each in content.get("examples", {}).values()] or [content["example"]]


def is_valid(example: Any, schema: dict[str, Any]) -> None:
    # By way of its text, as it is served: a tuple is no array for the validator.
    plain = json.loads(json.dumps({**schema, "components": DOCUMENT["components"]}))
    Draft202012Validator(plain).validate(json.loads(json.dumps(example)))


PROPERTIES = [
    pytest.param(schema, id=f"{component}.{name}")
    for component, whole in COMPONENTS.items()
    for name, schema in whole.get("properties", {}).items()
]
PARAMETERS = [
    pytest.param(parameter, id=f"{name} {parameter['name']}")
    for name, operation in OPERATIONS.items()
    for parameter in operation["parameters"]
]
CONTENTS = [pytest.param(content, id=name) for name, content in contents()]


def test_there_is_something_to_look_at() -> None:
    assert len(PROPERTIES) > 180
    assert len(PARAMETERS) > 50
    assert all(component.get("properties") for component in COMPONENTS.values()), "no object is without its fields"


@pytest.mark.parametrize("schema", PROPERTIES)
def test_a_property_is_described_with_a_valid_example(schema: dict[str, Any]) -> None:
    assert len(schema["description"]) > 8
    assert schema["examples"]
    for example in schema["examples"]:
        is_valid(example, schema)


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_parameter_is_described_with_a_valid_example(parameter: dict[str, Any]) -> None:
    assert len(parameter["description"]) > 8
    is_valid(parameter["example"], parameter["schema"])


@pytest.mark.parametrize("content", CONTENTS)
def test_what_is_sent_and_answered_has_valid_examples(content: dict[str, Any]) -> None:
    for example in examples_of(content):
        is_valid(example, content["schema"])


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_refusal_has_its_codes_each_with_a_problem(name: str) -> None:
    refused = {status: each for status, each in OPERATIONS[name]["responses"].items() if int(status) >= 400}
    assert {"403", "500"} <= refused.keys(), "any route may refuse another host, and fail"
    for status, response in refused.items():
        if "application/problem+json" not in response["content"]:
            assert (name, status) == ("GET /readyz", "503")
            continue
        for code, example in response["content"]["application/problem+json"]["examples"].items():
            problem = example["value"]
            assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
            assert (problem["code"], problem["status"]) == (code, int(status))
            assert status_of(error_of(code, "")) in (int(status), 400 if status == "408" else int(status))
            assert problem["detail"]
            assert problem["detail"] != problem["title"]
            assert f"`{code}`" in response["description"]
        assert ("headers" in response) == (status in ("429", "503"))


def test_the_body_of_a_product_is_what_its_reader_knows() -> None:
    assert set(ProductBody.__struct_fields__) == IDENTITY_KEYS | OFFER_KEYS | VIEW_KEYS | {"title", "description"}


def example_of(component: str, name: str) -> Any:
    return COMPONENTS[component]["properties"][name]["examples"][0]


def searches() -> dict[str, dict[str, Any]]:
    """The route's own examples, and each property's example added to a plain search."""
    whole = SEARCH["requestBody"]["content"]["application/json"]["examples"]
    single = {
        name: {"text": "red dress", name: example_of("SearchBody", name)}
        for name in COMPONENTS["SearchBody"]["properties"]
    }
    single["crop"]["image"] = example_of("SearchBody", "image")
    token = {"text": "red dress", "min_offset": example_of("SearchAnswer", "read_token")}
    return {name: each["value"] for name, each in whole.items()} | single | {"read_token": token}


@pytest.fixture
def shop(api: Api) -> Api:
    api.shard.put(shard_product("dress-7", attributes={"color": "red"}, price=25.0))
    api.encoder.boxes = ((0.1, 0.2, 0.3, 0.5),)
    return api


@pytest.mark.parametrize("name", searches())
async def test_the_examples_of_a_search_are_taken(shop: Api, name: str) -> None:
    response = await shop.client.post("/v1/search", json=searches()[name])
    answer = await response.json()
    if name == "vector":  # how long one is, is for the lane to say
        assert (response.status, answer["code"]) == (400, "invalid-vector")
    else:
        assert response.status == 200, answer
        is_valid(answer, {"$ref": "#/components/schemas/SearchAnswer"})


RAW = [each for each in SEARCH["parameters"] if each["name"] != "tenant"]


@pytest.mark.parametrize("parameter", RAW, ids=lambda parameter: parameter["name"])
async def test_the_examples_beside_a_raw_picture_are_taken(shop: Api, parameter: dict[str, Any]) -> None:
    example = parameter["example"]
    query = {parameter["name"]: example if isinstance(example, str) else json.dumps(example)}
    response = await shop.client.post("/v1/search", params=query, data=JPEG, headers={"Content-Type": "image/jpeg"})
    assert response.status == 200, await response.json()


OTHERS = [
    pytest.param(name, example, id=f"{name} {number}")
    for name, operation in OPERATIONS.items()
    if "application/json" in operation.get("requestBody", {}).get("content", {}) and operation is not SEARCH
    for number, example in enumerate(examples_of(operation["requestBody"]["content"]["application/json"]))
]


@pytest.mark.parametrize(("name", "body"), OTHERS)
async def test_the_examples_of_every_other_body_are_taken(shop: Api, name: str, body: Any) -> None:
    method, path = name.split()
    response = await shop.client.request(method, path, json=body)
    answer = await response.json()
    assert response.status in (200, 202), answer
    is_valid(answer, OPERATIONS[name]["responses"][str(response.status)]["content"]["application/json"]["schema"])
