"""The demo's own work ends when nobody waits for it any more, and says nothing that is not so."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from freshlens import demo, launcher
from freshlens.cli import up
from freshlens.cli.context import Context
from freshlens.client import ApiError
from freshlens.launcher import Launcher
from schemas.progress import Position, decode_token, token_of
from topics import administration


def test_a_demo_that_is_stopped_does_not_go_on_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing, stopped = threading.Event(), threading.Event()
    said: list[str] = []
    drawn: list[int] = []

    def write_catalogue(folder: Path, count: int, *, progress: Callable[[int, int], None]) -> Path:
        drawing.set()
        assert stopped.wait(30)
        for done in range(0, count, 500):
            progress(done, count)
            drawn.append(done)
        raise AssertionError("drew on")

    async def stop_it() -> None:
        task = asyncio.create_task(demo.Demo(Context(tmp_path, "demo"), "http://x", said.append).run(with_search=False))
        assert await asyncio.to_thread(drawing.wait, 30)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        stopped.set()

    monkeypatch.setattr(demo, "write_catalogue", write_catalogue)
    asyncio.run(stop_it())  # returns when the thread has ended
    assert drawn == []
    assert said == ["demo: drawing 2,000 products, once"]
    assert not (tmp_path / "demo" / "published").exists()


@pytest.mark.parametrize(("marker", "published"), [("here", 0), ("elsewhere", 1), ("damaged", 1)])
def test_a_catalogue_that_went_to_another_log_is_published_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marker: str, published: int
) -> None:
    here = Position("cluster:here", "product-added", 0, 7)
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "products.jsonl").write_text('{"product_id": "p", "price": 1}\n')
    token = token_of([msgspec.structs.replace(here, log_id=f"cluster:{marker}")]).encode()
    (folder / "published").write_text("" if marker == "damaged" else token)
    sent: list[object] = []

    class Confirms:
        def __init__(self, *_: object, **__: object) -> None: ...

        def send(self, event: object, on_done: Callable[[Position], object], *, hot: bool) -> None:
            sent.append(event)
            on_done(here)

        def close(self) -> None: ...

    monkeypatch.setattr(demo, "Publisher", Confirms)
    monkeypatch.setattr(administration, "describe_log", lambda *_: "cluster:here")
    context = Context(tmp_path, "demo", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    made = demo.Demo(context, "http://x", lambda _: None)._published()
    assert decode_token(made).positions == (here,)
    assert (folder / "published").read_text() == made
    assert len(sent) == published


class Api:
    """An API that is away at first; then it refuses, or is fresh."""

    def __init__(self, *answers: ApiError | SimpleNamespace) -> None:
        self.answers = list(answers)

    async def search(self, **_: object) -> SimpleNamespace:
        answer = self.answers.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        return answer


def test_an_api_that_is_started_again_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_RETRY_S", 0.0)
    made = demo.Demo(Context(tmp_path, "demo"), "http://x", lambda _: None)
    away = [ApiError("gone"), ApiError("gone", code="shard-unavailable", status=503)]
    asyncio.run(made._until_searchable(Api(*away, SimpleNamespace(freshness_met=True)), "t"))  # type: ignore[arg-type]
    with pytest.raises(ApiError, match="no"):
        asyncio.run(made._until_searchable(Api(ApiError("no", code="token-unknown-log")), "t"))  # type: ignore[arg-type]


@pytest.mark.parametrize("ends", [False, True])
def test_what_runs_goes_on_without_a_demo_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ends: bool
) -> None:
    happened: list[str] = []

    class Running(Launcher):
        async def start(self) -> bool:
            self.url = "http://x"
            return True

        async def until_stopped(self) -> None:
            happened.append("serves")

        async def stop(self) -> None:
            happened.append("stops")

    async def fail(self: demo.Demo, *, with_search: bool) -> None:
        raise ApiError("gone")

    monkeypatch.setattr(launcher, "Launcher", Running)
    monkeypatch.setattr(demo.Demo, "run", fail)
    context = Context(tmp_path, "default", {"DEMO_EXIT": "1"} if ends else {})
    with pytest.raises(ApiError) if ends else contextlib.nullcontext():
        up._run(context, "127.0.0.1", 0, 0, demo=True, with_search=ends)
    assert happened == (["stops"] if ends else ["serves", "stops"])
    assert ("api-unreachable: gone" in "".join(capsys.readouterr())) is not ends
