"""How much anonymous memory does a process that serves searches take: empty, with everything new, after a compaction?

``freshlens up`` serves a lane of own vectors (clustered, 384-d) in one search process and is searched over HTTP at each
stage, with recall@10 beside it. Last it is started anew, which is what a compaction should come close to.

    python -m benchmarks.search_memory [--rows 30000]
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.http_search import anonymous_mib
from benchmarks.own_vectors import DIM, clustered, make_centres, searched, true_nearest, write_lines
from benchmarks.report import save
from tests.running import Running

QUERIES = 300
SETTLED_S = 20
"""Until a new generation is looked for, loaded, and what it replaced is let go."""


def main() -> None:
    """Start a lane of its own and look at it at every stage."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=30_000)
    rows = parser.parse_args().rows
    centres = make_centres()
    vectors, queries = clustered(rows, 2, centres), clustered(QUERIES, 3, centres)
    truth = true_nearest(vectors, queries)
    stages: dict[str, Any] = {}
    by_hand = {"FRESHLENS_COMPACT_AT": "never", "FRESHLENS_COMPACT_RECORDS": str(10 * rows)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_lines(folder / "vectors.jsonl", vectors)
        running = Running(folder / "data", **by_hand, FRESHLENS_ENCODER=f"none:{DIM}", FRESHLENS_SEARCH_PROCESSES="1")

        def look(stage: str) -> None:
            time.sleep(SETTLED_S)
            found = asyncio.run(searched(running.url, queries, truth))
            stages[stage] = {"anonymous_mib": anonymous_mib(running), **found}

        with running:
            stages["empty"] = {"anonymous_mib": anonymous_mib(running)}
            for stage, command in (
                ("all of it new", ("publish", str(folder / "vectors.jsonl"), "--wait")),
                ("after a compaction", ("compact", "--wait")),
            ):
                done = running.freshlens(*command, timeout_s=1800)
                assert done.returncode == 0, done.stdout + done.stderr
                look(stage)
            running.stop()
            running.start()
            look("started anew")
    save("search_memory", "Anonymous memory of a process that serves searches", {"rows": rows, "dim": DIM, **stages})


if __name__ == "__main__":
    main()
