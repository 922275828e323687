"""docs/api.md: every request on it is sent, and answered with the status and the fields that it shows."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import pytest_asyncio

from query_api.routes.table import ROUTES
from schemas.errors import FreshlensError
from tests.unit.query_api.doubles import JPEG, Api, running_api, shard_product, status_of_node

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()


class Example(NamedTuple):
    method: str
    path: str
    media: str
    body: str
    status: int
    shown: dict[str, Any] | None


def examples() -> list[Example]:
    found = re.findall(r"```http\n(\w+) (\S+)\n(.*?)```\n→ (\d+)\n(?:```json\n(.*?)```)?", PAGE, re.DOTALL)
    return [_example(*parts) for parts in found]


def _example(method: str, path: str, rest: str, status: str, shown: str) -> Example:
    head, _, body = rest.partition("\n\n")
    media = head.partition("Content-Type: ")[2].strip()
    return Example(method, path, media, body, int(status), msgspec.json.decode(shown) if shown else None)


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Api]:
    """The products that the page speaks of."""
    async with running_api(tmp_path) as api:
        dress = shard_product("dress-7", attributes={"color": "red"}, price=25.0, content_hash=b"\x01" * 16)
        api.shard.put(dress, shard_product("dress-8", attributes={"color": "red"}), shard_product("gone-1", deleted=9))
        api.cluster.learn(statuses=[status_of_node()])
        yield api


@pytest.mark.parametrize("example", examples(), ids=lambda example: f"{example.method} {example.path}")
async def test_the_example_is_answered_as_shown(shop: Api, example: Example) -> None:
    is_picture = example.media.startswith("image/")
    response = await shop.client.request(
        example.method,
        example.path,
        data=JPEG if is_picture else example.body.encode() or None,
        headers={"Content-Type": example.media} if example.media else {},
    )
    answer = await response.json()
    assert response.status == example.status, answer
    if example.shown is not None:
        assert_same_fields(answer, example.shown)


def assert_same_fields(answer: Any, shown: Any, place: str = "$") -> None:
    """The page shows every field there is, and no other; within a product that it abridges, some."""
    if isinstance(shown, dict) and isinstance(answer, dict) and not _is_data(place):
        if place.endswith(".product"):
            assert shown.keys() <= answer.keys(), place
        else:
            assert shown.keys() == answer.keys(), (place, shown.keys() ^ answer.keys())
        for name, value in shown.items():
            assert_same_fields(answer[name], value, f"{place}.{name}")
    if isinstance(shown, list) and isinstance(answer, list):
        for one, other in zip(answer, shown, strict=False):
            assert_same_fields(one, other, f"{place}[]")


def _is_data(place: str) -> bool:
    return place.endswith((".attributes", ".applied", ".stages"))


def test_there_are_examples() -> None:
    assert len(examples()) >= 15
    assert PAGE.count("```http") == len(examples())


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_on_the_page(route: Any) -> None:
    assert route.path in PAGE


def test_every_code_on_the_page_exists() -> None:
    def codes(kind: type[FreshlensError]) -> set[str]:
        return {kind.code, *kind.codes}.union(*(codes(child) for child in kind.__subclasses__()))

    named = set(re.findall(r'"code": "([a-z-]+)"', PAGE))
    assert named <= codes(FreshlensError)
