"""The supervisor on small programs: what ends is started again, what is stopped stays stopped."""

import asyncio
import errno
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from freshlens.supervisor import BACKOFF_MAX_S, BACKOFF_MIN_S, Program, Supervisor, backoff_s

READY_THEN_WAIT = "import sys; print('ready', flush=True); sys.stdin.read()"


def _program(tmp_path: Path, code: str) -> Program:
    return Program("child", [sys.executable, "-c", code], dict(os.environ), tmp_path / "child.log")


def test_backoff_grows_and_is_bounded() -> None:
    waits = [backoff_s(failures) for failures in range(1, 12)]
    assert waits[0] == BACKOFF_MIN_S
    assert waits == sorted(waits)
    assert waits[-1] == BACKOFF_MAX_S


async def test_a_killed_program_comes_back_and_says_so(tmp_path: Path) -> None:
    said: asyncio.Queue[str] = asyncio.Queue()
    supervisor = Supervisor(said.put_nowait)
    child = supervisor.start(_program(tmp_path, READY_THEN_WAIT))
    await asyncio.wait_for(child.is_ready.wait(), 20)
    first = child.pid
    os.kill(first, signal.SIGKILL)
    assert "killed by SIGKILL" in await asyncio.wait_for(said.get(), 20)
    assert await asyncio.wait_for(said.get(), 20) == "child is back"
    assert child.pid not in (0, first)
    await supervisor.stop("child")


async def test_stop_ends_the_process_and_does_not_restart_it(tmp_path: Path) -> None:
    supervisor = Supervisor(lambda _line: None)
    child = supervisor.start(_program(tmp_path, READY_THEN_WAIT))
    await asyncio.wait_for(child.is_ready.wait(), 20)
    pid = child.pid
    await supervisor.stop("child")
    assert child.pid == 0
    assert not psutil.pid_exists(pid)


async def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freshlens.supervisor.STOP_TIMEOUT_S", 0.2)
    said: list[str] = []
    supervisor = Supervisor(said.append)
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY_THEN_WAIT}"
    child = supervisor.start(_program(tmp_path, stubborn))
    await asyncio.wait_for(child.is_ready.wait(), 20)
    await supervisor.stop("child")
    assert child.pid == 0
    assert "did not stop" in said[-1]


async def test_what_a_program_says_goes_to_its_log(tmp_path: Path) -> None:
    supervisor = Supervisor(lambda _line: None)
    loud = f"import sys; print('a problem', file=sys.stderr, flush=True); {READY_THEN_WAIT}"
    child = supervisor.start(_program(tmp_path, loud))
    await asyncio.wait_for(child.is_ready.wait(), 20)
    await supervisor.stop("child")
    assert (tmp_path / "child.log").read_text() == "a problem\n"


async def test_a_full_disk_and_a_closed_terminal_keep_no_program_down(tmp_path: Path) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    supervisor = Supervisor(fails, fails)
    child = supervisor.start(_program(tmp_path, READY_THEN_WAIT))
    await asyncio.wait_for(child.is_ready.wait(), 20)
    first = child.pid
    os.kill(first, signal.SIGKILL)
    while child.pid in (0, first):
        await asyncio.sleep(0.05)
    await supervisor.stop("child")
    assert child.pid == 0


async def test_a_program_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    said: asyncio.Queue[str] = asyncio.Queue()
    supervisor = Supervisor(said.put_nowait)
    (tmp_path / "child.log").mkdir()  # no log can be opened there
    child = supervisor.start(_program(tmp_path, READY_THEN_WAIT))
    assert "not started: Is a directory" in await asyncio.wait_for(said.get(), 20)
    (tmp_path / "child.log").rmdir()
    await asyncio.wait_for(child.is_ready.wait(), 20)
    await supervisor.stop("child")
