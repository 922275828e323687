"""Many seeds; ``make sim SEED=n`` replays one. FRESHLENS_SIM_SEEDS says how many."""

import os
import subprocess
import sys

import pytest

from tests.simulation.world import run_seed

SEEDS = int(os.environ.get("FRESHLENS_SIM_SEEDS", "100"))
CHUNK = 20


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_promise_holds_whatever_happens(first: int) -> None:
    for seed in range(first, min(first + CHUNK, SEEDS)):
        run_seed(seed)


def test_a_seed_decides_everything() -> None:
    """Two processes that hash strings differently live through the same history."""
    seeds = [_history("1"), _history("2")]
    assert "has the history" in seeds[0]
    assert seeds[0] == seeds[1]


def _history(hash_seed: str) -> str:
    command = [sys.executable, "-m", "tests.simulation", "--seed", "5"]
    environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
    output = subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout
    return output.rpartition("\n1 seeds")[0]
