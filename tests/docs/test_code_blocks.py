"""The Python and the curl on README.md, docs/api.md and docs/client.md run, as they stand there, against the API."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from freshlens.client import calls
from tests.unit.query_api.doubles import JPEG, Api, running_api, shard_product, status_of_node

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/api.md", "docs/client.md")
WRITTEN = "http://127.0.0.1:8080"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of each block."""
    return _BLOCK.findall((ROOT / page).read_text())


def python_of(page: str) -> str:
    """All Python of a page; a block may go on where an earlier one ended."""
    return "\n".join(text for language, text in blocks(page) if language == "python")


def curls() -> list[str]:
    lines = [line for page in PAGES for _, text in blocks(page) for line in text.splitlines()]
    return [line for line in lines if line.startswith("curl ")]


@pytest_asyncio.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """The products that the pages speak of, and a photo where the code runs."""
    monkeypatch.delenv("FRESHLENS_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(JPEG)
    async with running_api(tmp_path) as api:
        api.shard.put(shard_product("dress-7", title="Red dress", attributes={"color": "red"}, price=25.0))
        api.cluster.learn(statuses=[status_of_node()])
        yield api


def here(code: str, api: Api) -> str:
    return code.replace(WRITTEN, str(api.client.make_url("")).rstrip("/"))


@pytest.mark.parametrize("page", PAGES)
async def test_the_python_runs(shop: Api, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = here(python_of(page), shop)
    assert code
    # In a thread: the API answers from this one.
    await asyncio.to_thread(exec, compile(code, page, "exec"), {"__name__": "__main__"})
    assert "dress-7" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("line", curls())
async def test_the_curl_is_answered(shop: Api, line: str) -> None:
    command = ["sh", "-c", here(line, shop) + " --fail"]
    environ = {**os.environ, "no_proxy": "*"}
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    assert '"read_token"' in done.stdout or '"products"' in done.stdout


def test_there_is_something_to_run() -> None:
    assert len(curls()) >= 6


def test_every_method_of_the_client_is_on_its_page() -> None:
    page = (ROOT / "docs" / "client.md").read_text()
    methods = [name for name, made in vars(calls).items() if getattr(made, "__module__", "") == calls.__name__]
    asked = [name for name in methods if not name.startswith("_") and name.islower()]
    assert len(asked) >= 15
    assert [name for name in asked if f"`{name}(" not in page] == []
