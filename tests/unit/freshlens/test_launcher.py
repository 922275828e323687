"""The launcher by itself: which signals stop it, and what it says of processes that do not work."""

import os
import signal
import sys
from pathlib import Path

import pytest

from freshlens import launcher
from freshlens.launcher import Launcher, UpSettings
from freshlens.supervisor import Program
from schemas.errors import SettingsError


@pytest.fixture
def up(tmp_path: Path) -> Launcher:
    return Launcher(UpSettings(tmp_path, "127.0.0.1", 0, 0, {}), lambda _line: None)


async def test_nohup_is_heeded(up: Launcher) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        up._listen_for_signals()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGTERM)
        await up.until_stopped()
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_who_is_not_ready_in_time_is_named(up: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "READY_TIMEOUT_S", 0.01)
    up._metrics = tmp_path / "metrics"
    says = {"embed": "print('ready', flush=True)", "node-1": ""}
    programs = [
        Program(name, [sys.executable, "-c", f"import sys; {said}; sys.stdin.read()"], os.environ, tmp_path / name)
        for name, said in says.items()
    ]
    embed, node = [up._supervisor.start(program) for program in programs]
    await embed.is_ready.wait()
    with pytest.raises(SettingsError, match="not ready after 0 s: node-1; the logs in") as raised:
        await up._wait_until(embed.is_ready.wait(), node.is_ready.wait())
    assert raised.value.code == "processes-not-ready"
    await up.stop()
