"""``python -m tests.simulation --seed 17``, or ``--seeds 0..199``."""

import argparse
import sys
import time

from tests.simulation.checks import Violation
from tests.simulation.world import STEPS, run_seed


def _range(text: str) -> range:
    first, _, last = text.partition("..")
    return range(int(first), int(last or first) + 1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=_range, help="replay one seed, with its events")
    parser.add_argument("--seeds", type=_range, default=range(1), help="a range, e.g. 0..199")
    parser.add_argument("--steps", type=int, default=STEPS)
    chosen = parser.parse_args()
    started = time.monotonic()
    for seed in chosen.seed or chosen.seeds:
        try:
            world = run_seed(seed, chosen.steps)
        except Violation as violation:
            sys.stdout.write(f"seed {seed} violates {violation.promise}: {violation}\n")
            return 1
        if chosen.seed:
            sys.stdout.write("\n".join([*world.trace, f"seed {seed} has the history {world.history}", ""]))
    seconds = time.monotonic() - started
    sys.stdout.write(f"{len(chosen.seed or chosen.seeds)} seeds hold, {seconds:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
