"""How commands find a running ``up``, and are not misled by a dead one."""

import os
from pathlib import Path

import psutil
import pytest

from freshlens import run_file
from freshlens.run_file import RunFile


def _run(pid: int, started_at: float) -> RunFile:
    return RunFile(pid, started_at, "127.0.0.1:9092", "http://127.0.0.1:8080", "small:256", "bundled", {"api": 1})


def test_a_living_up_is_found_until_it_removes_its_file(tmp_path: Path) -> None:
    run = _run(os.getpid(), run_file.start_of(psutil.Process()))
    run_file.write(tmp_path, run)
    assert run_file.read(tmp_path) == run
    run_file.remove(tmp_path)
    assert run_file.read(tmp_path) is None


def test_a_process_id_that_was_used_again_is_not_taken_for_it(tmp_path: Path) -> None:
    run_file.write(tmp_path, _run(os.getpid(), run_file.start_of(psutil.Process()) - 3600))
    assert run_file.read(tmp_path) is None


def test_a_torn_file_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"pid": 1')
    assert run_file.read(tmp_path) is None


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere the system itself remembers the time of day")
def test_it_is_found_after_somebody_set_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_file.write(tmp_path, _run(os.getpid(), run_file.start_of(psutil.Process())))
    booted, started = psutil.boot_time(), psutil.Process().create_time()
    monkeypatch.setattr(psutil, "boot_time", lambda: booted + 3600)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: started + 3600)
    assert run_file.read(tmp_path) is not None


def test_what_another_process_said_of_itself_is_not_removed(tmp_path: Path) -> None:
    run_file.write(tmp_path, _run(os.getppid(), run_file.start_of(psutil.Process(os.getppid()))))
    run_file.remove(tmp_path)
    assert run_file.read(tmp_path) is not None
