"""``freshlens keys``, and the whole path: made by the command, asked for by the API, revoked by the command."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import click
import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from freshlens.cli import cli
from freshlens.cli.context import Context
from freshlens.cli.keys import expiry_us, has_keys, per, scopes_of
from freshlens.client import ApiError, AsyncClient
from query_api.access.api_keys import KeyStore
from query_api.access.key_ring import KeyRing
from query_api.access.keys import PARTS
from schemas.errors import FreshlensError, SettingsError
from tests.unit.query_api.doubles import Api, running_api, shard_product, status_of_node
from topics.store import FileStore

NOW_US = 1_795_000_000_000_000
DAY_US = 86_400_000_000


def freshlens(data: Path, *arguments: str) -> Result:
    return CliRunner(env={"FRESHLENS_STORE": "", "FRESHLENS_TENANT": ""}).invoke(cli, ["--data", str(data), *arguments])


def made(data: Path, *arguments: str) -> str:
    """The text of a new key: all that is on standard output."""
    result = freshlens(data, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def listed(data: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in freshlens(data, "keys", "list", "--json").stdout.splitlines()]


def test_a_key_is_shown_once(tmp_path: Path) -> None:
    text = made(
        tmp_path, "--tenant", "shop", "keys", "create", "page", "--scopes", "feedback, search", "--rate", "2.5/s"
    )
    assert text.startswith("fl_")
    assert "\n" not in text
    told = freshlens(tmp_path, "keys", "list").stdout + json.dumps(listed(tmp_path))
    assert text.split("_")[1] in freshlens(tmp_path, "keys", "list").stdout, "an id is never cut: revoking needs it"
    assert text not in told
    assert text.split("_", 2)[2] not in told
    assert "digest" not in told
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert text.split("_", 2)[2].encode() not in everything


def test_a_list_says_all_but_the_secret(tmp_path: Path) -> None:
    arguments = ["--scopes", "search,feedback", "--rate", "2.5/s", "--quota", "100/day", "--expires", "90d"]
    made(tmp_path, "--tenant", "shop", "keys", "create", "page", *arguments)
    made(tmp_path, "keys", "create", "ops", "--all-tenants", "--scopes", "admin")
    page, ops = listed(tmp_path)
    assert (page["name"], page["tenant"], page["scopes"]) == ("page", "shop", ["search", "feedback"])
    assert (page["rate_per_s"], page["quota_per_day"], page["state"]) == (2.5, 100, "valid")
    assert page["expires_at_us"] == page["created_at_us"] + 90 * DAY_US  # type: ignore[operator]
    assert (ops["tenant"], ops["scopes"], ops["expires_at_us"]) == ("*", ["admin"], None)
    freshlens(tmp_path, "keys", "revoke", str(page["id"]))
    assert str(listed(tmp_path)[0]["state"]).startswith("revoked 20")


def test_a_list_can_be_read_at_80_columns(tmp_path: Path) -> None:
    arguments = ["--scopes", "search,feedback", "--rate", "2.5/s", "--quota", "50000/day", "--expires", "90d"]
    made(tmp_path, "--tenant", "shop", "keys", "create", "shop-page", *arguments)
    lines = freshlens(tmp_path, "keys", "list").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 4
    for word in ("shop-page", "search,", "feedback", "2.5/s,", "50000/day", "valid"):
        assert word in " ".join(lines), "words stay whole"


def test_a_damaged_key_is_named_and_hides_no_other(tmp_path: Path) -> None:
    for name in ("one", "other"):
        made(tmp_path, "keys", "create", name, "--scopes", "search")
    damaged, whole = (str(key["id"]) for key in listed(tmp_path))
    (tmp_path / "store" / "keys" / f"{damaged}.json").write_bytes(b"{}")
    result = freshlens(tmp_path, "keys", "list", "--json")
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [whole]
    assert f"storage: key {damaged} cannot be read" in result.stderr
    assert freshlens(tmp_path, "keys", "revoke", damaged).exit_code == 0


def test_changes_are_on_record_without_secrets(tmp_path: Path) -> None:
    text = made(tmp_path, "--tenant", "shop", "keys", "create", "page", "--scopes", "search")
    (key,) = listed(tmp_path)
    freshlens(tmp_path, "keys", "revoke", str(key["id"]))
    refused = freshlens(tmp_path, "tenants", "set", "shop", "--versions", "sequence")
    assert (refused.exit_code, "say so with --new" in str(refused.exception)) == (1, True), "nobody knows what it has"
    freshlens(tmp_path, "tenants", "set", "shop", "--versions", "sequence", "--new")
    record = (tmp_path / "logs" / "audit.log").read_text()
    lines = [json.loads(line) for line in record.splitlines()]
    assert [(line["action"], line["object"]) for line in lines] == [
        ("key-create", key["id"]),
        ("key-revoke", key["id"]),
        ("tenant-set", "shop"),
    ]
    assert all(line["event"] == "audit" and line["by"] and line["timestamp"] for line in lines)
    assert text.split("_", 2)[2] not in record


@pytest.mark.parametrize(
    "arguments",
    [
        ["--scopes", "root"],
        ["--scopes", "search", "--rate", "fast"],
        ["--scopes", "search", "--rate", "0/s"],
        ["--scopes", "search", "--quota", "1.5/day"],
        ["--scopes", "search", "--quota", "5/s"],
        ["--scopes", "search", "--expires", "soon"],
        [],
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    assert freshlens(tmp_path, "keys", "create", "x", *arguments).exit_code == 2
    assert listed(tmp_path) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "x", "--scopes", ","],
        ["create", "x", "--scopes", "search", "--all-tenants"],
        ["create", "x", "--scopes", "search", "--expires", "0h"],
        ["create", "x", "--scopes", "search", "--expires", "2001-01-01"],
        ["revoke", "0123456789ab"],
    ],
)
def test_what_fails(tmp_path: Path, arguments: list[str]) -> None:
    result = freshlens(tmp_path, "keys", *arguments)
    assert isinstance(result.exception, FreshlensError), result.output
    assert listed(tmp_path) == []
    assert not (tmp_path / "logs").exists()


def test_what_options_mean() -> None:
    assert scopes_of("search, admin") == ["search", "admin"]
    assert (per("20/s", "s"), per("0.5/s", "s"), per("7", "day"), per("7/day", "day")) == (20, 0.5, 7, 7)
    assert expiry_us("12h", NOW_US) == NOW_US + DAY_US // 2
    assert expiry_us("2027-01-31", NOW_US) == expiry_us("2027-01-31T01:00+01:00", NOW_US) == 1_801_353_600_000_000
    with pytest.raises(click.UsageError):
        per("-1/s", "s")


def test_other_machines_are_not_served_without_keys(tmp_path: Path) -> None:
    result = freshlens(tmp_path, "up", "--host", "0.0.0.0", "--no-demo")
    assert isinstance(result.exception, SettingsError)
    assert "keys create" in str(result.exception)


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """An API over the store of the data directory ``tmp_path``; one product of tenant shop."""
    ring = KeyRing(KeyStore(FileStore(tmp_path / "store")))
    async with running_api(tmp_path, keys=ring) as running:
        running.shard.put(shard_product("a"), tenant="shop")
        running.cluster.learn(statuses=[status_of_node()])
        yield running


async def test_the_whole_path(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(api.client.make_url("/"))
    monkeypatch.delenv("FRESHLENS_API_KEY", raising=False)
    async with AsyncClient(url, tenant="shop") as client:
        assert (await client.product("a")).product_id == "a", "no key exists: this machine is served"

    arguments = ["--tenant", "shop", "keys", "create", "page", "--scopes", "search", "--quota", "3/day"]
    text = await asyncio.to_thread(made, tmp_path, *arguments)
    assert has_keys(Context(tmp_path, "default", {}))
    refresh(api)
    async with AsyncClient(url, tenant="shop") as client:
        assert await refusal(client.product("a")) == (401, "unauthorized")

    monkeypatch.setenv("FRESHLENS_API_KEY", text)
    async with AsyncClient(url) as client:
        assert (await client.product("a")).product_id == "a", "the key says the tenant"
        assert (await client.search(text="a")).results[0].product_id == "a"
        assert await refusal(client.delete("a")) == (403, "scope-missing")
        assert (await client.product("a")).product_id == "a"
        assert await refusal(client.product("a")) == (429, "quota-used")
    async with AsyncClient(url, tenant="other") as client:
        assert await refusal(client.product("a")) == (403, "tenant-refused")

    (key,) = await asyncio.to_thread(listed, tmp_path)
    await asyncio.to_thread(freshlens, tmp_path, "keys", "revoke", str(key["id"]))
    refresh(api)
    with Context(tmp_path, "shop", {"FRESHLENS_URL": url, "FRESHLENS_API_KEY": text}).client() as client:
        assert await refusal(asyncio.to_thread(client.product, "a")) == (401, "unauthorized")


def refresh(api: Api) -> None:
    """As the API does every few seconds."""
    app = api.client.app
    assert app is not None
    app[PARTS].keys.refresh()


async def refusal(call: "asyncio.Future[object] | object") -> tuple[int | None, str]:
    with pytest.raises(ApiError) as raised:
        await call  # type: ignore[misc]
    return raised.value.status, raised.value.code
