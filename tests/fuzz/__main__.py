"""``python -m tests.fuzz``: fuzz the decoder children, or replay one input."""

import argparse
import asyncio
import sys
from pathlib import Path

from tests.fuzz.campaign import campaign
from tests.fuzz.mutations import mutated


def main() -> int:
    """Exit status 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="decoder processes")
    parser.add_argument("--replay", type=int, help="decode the input of this number only")
    parser.add_argument("--save", type=Path, help="write the replayed input to this file")
    asked = parser.parse_args()
    if asked.replay is not None and asked.save is not None:
        asked.save.write_bytes(mutated(asked.seed, asked.replay)[1])
    numbers = range(asked.inputs) if asked.replay is None else range(asked.replay, asked.replay + 1)
    report = asyncio.run(campaign(numbers, asked.seed, workers=asked.workers, tell=_tell))
    _tell(str(report))
    return 1 if report.findings else 0


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
