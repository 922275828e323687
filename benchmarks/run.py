"""Every benchmark, one after another: ``python -m benchmarks.run``."""

import subprocess
import sys

ALL = ("freshness", "own_vectors")


def main() -> None:
    """Run each in a process of its own; the first that fails ends it."""
    for name in ALL:
        print(f"== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
