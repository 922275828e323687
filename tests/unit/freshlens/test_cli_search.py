"""The commands that ask the query API, against the application over doubles."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from freshlens.cli import cli
from schemas.errors import FreshlensError
from tests.unit.query_api.doubles import JPEG, Api, running_api, shard_product, status_of_node

Command = Callable[..., Awaitable[Result]]


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        running.shard.put(
            shard_product("mug-1", title="A blue mug", attributes={"color": "blue"}, price=9.5, currency="EUR"),
            shard_product("mug-2", deleted=9),
        )
        running.cluster.learn(statuses=[status_of_node()])
        yield running


@pytest.fixture
def freshlens(api: Api, tmp_path: Path) -> Command:
    """Runs a command in a thread, since the API answers from this one."""
    environ = {"FRESHLENS_URL": str(api.client.make_url("/")), "FRESHLENS_TENANT": "", "FRESHLENS_API_KEY": ""}

    async def run(*arguments: str, **over: str) -> Result:
        runner = CliRunner(env={**environ, **over})
        return await asyncio.to_thread(runner.invoke, cli, ["--data", str(tmp_path / "data"), *arguments])

    return run


async def test_search_prints_a_table_or_the_apis_json(freshlens: Command, tmp_path: Path) -> None:
    shown = await freshlens("search", "--text", "mug-1")
    assert ("mug-1" in shown.stdout, "9.50 EUR" in shown.stdout, "1 results in" in shown.stdout) == (True, True, True)
    (tmp_path / "photo.jpg").write_bytes(JPEG)
    told = await freshlens("search", "--image", str(tmp_path / "photo.jpg"), "-k", "1", "--json")
    assert json.loads(told.stdout)["results"][0]["attributes"] == {
        "color": "blue", "price": 9.5, "currency": "EUR", "in_stock": True
    }  # fmt: skip
    filtered = await freshlens("search", "--filter", '{"color": "red"}')
    assert "no match" in filtered.stdout


async def test_a_list_without_one_of_the_shards_says_so(tmp_path: Path) -> None:
    async with running_api(tmp_path, shards=2) as api:
        api.shards[1].is_dead = True
        runner = CliRunner(env={"FRESHLENS_URL": str(api.client.make_url("/"))})
        listed = await asyncio.to_thread(runner.invoke, cli, ["--data", str(tmp_path / "data"), "products", "list"])
    assert listed.exit_code == 0
    assert "1 of 2 shards answered: products are missing" in listed.stderr


@pytest.mark.parametrize("filter_", ["{", "[1]", "5"])
async def test_a_filter_that_is_no_json_object_is_wrong_usage(freshlens: Command, filter_: str) -> None:
    assert (await freshlens("search", "--filter", filter_)).exit_code == 2


async def test_explain_and_why_not_print_the_reason(freshlens: Command) -> None:
    explained = await freshlens("explain", "mug-1", "--text", "mug-1")
    assert json.loads(explained.stdout)["reason"] == "shown"
    missed = await freshlens("why-not", "mug-2", "--text", "mug-1")
    assert json.loads(missed.stdout)["reason"] == "deleted"


async def test_products_and_status(freshlens: Command) -> None:
    assert json.loads((await freshlens("products", "get", "mug-1")).stdout)["title"] == "A blue mug"
    assert "A blue mug" in (await freshlens("products", "list")).stdout
    listed = json.loads((await freshlens("products", "list", "--json")).stdout)
    assert [product["product_id"] for product in listed["products"]] == ["mug-1"]
    assert json.loads((await freshlens("status", "--json")).stdout)["nodes"][0]["node_id"] == "n0"


async def test_what_the_api_refuses_is_told_with_its_code(freshlens: Command) -> None:
    refused = (await freshlens("products", "get", "nobody")).exception
    assert isinstance(refused, FreshlensError)
    assert refused.code == "not-found"


async def test_a_line_break_in_the_key_is_told_with_a_code(freshlens: Command) -> None:
    refused = (await freshlens("search", "--text", "a", FRESHLENS_API_KEY="fl_a\nb")).exception
    assert isinstance(refused, FreshlensError)
    assert refused.code == "unauthorized"
