"""The simulation can fail: every seeded bug under ``mutants/`` is caught by one of its checkers."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MUTANTS = sorted((Path(__file__).parent / "mutants").glob("*.patch"))
SEEDS = "0..299"
"""The search ends at the first seed that fails; seeds are not chosen for the mutants."""
_COPIED = ("index_nodes", "schemas", "topics", "tests/simulation", "tests/unit/index_nodes/records.py")
_CAUGHT = re.compile(r"^seed \d+ violates (?P<promise>[a-z-]+): ", re.MULTILINE)


def test_there_are_mutants() -> None:
    assert len(MUTANTS) >= 8


@pytest.mark.parametrize("patch", MUTANTS, ids=lambda patch: patch.stem)
def test_a_seeded_bug_is_caught(patch: Path, tmp_path: Path) -> None:
    _copy(tmp_path)
    apart = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}  # from any repository around it
    command = ["git", "apply", str(patch)]
    applied = subprocess.run(command, cwd=tmp_path, env=apart, capture_output=True, text=True, check=False)
    assert applied.returncode == 0, f"bring {patch.name} up to date: {applied.stderr}"
    run = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seeds", SEEDS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    caught = _CAUGHT.search(run.stdout)
    assert run.returncode == 1, f"not caught in {SEEDS}: {run.stdout[-300:]}{run.stderr[-1000:]}"
    assert caught, f"it failed, but not by a checker: {run.stdout[-300:]}{run.stderr[-2000:]}"


def _copy(folder: Path) -> None:
    """The packages that the simulation runs, and itself, in front of the installed ones."""
    for name in _COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "mutants"))
        else:
            shutil.copy(source, target)
    for package in ("tests", "tests/unit", "tests/unit/index_nodes"):
        (folder / package / "__init__.py").touch()
