"""The demo's own work ends when nobody waits for it any more, and says nothing that is not so."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from freshlens import demo
from freshlens.cli.context import Context


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
