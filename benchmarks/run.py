"""Benchmarks one after another, all or those named: ``python -m benchmarks.run [NAME …]``.

Each runs in a process of its own. One that fails does not stop the others; the exit code is 1 if any did.
"""

import argparse
import subprocess
import sys
import time

VECTORS = ("drawn_vectors", "clustered_vectors")
ALL = (
    "node_search", "probes", "blocks", "codes", "streaming_updates", "memory", "compaction", "restart", "runbook",
    "filters", "ablation", "growth", "freshness", "own_vectors", "overload", "hot_lane", "overtaking",
    "encoder", "model_start", "framing", "ingest", "ingest_kafka", "live_freshness",
)  # fmt: skip


def main() -> None:
    """Run what is named, then give the calculator its figures, draw the plots and fill the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join((*VECTORS, *ALL))}")
    names = parser.parse_args().names or [*VECTORS, *ALL]
    if unknown := sorted(set(names) - {*VECTORS, *ALL}):
        parser.error(f"no benchmark is called {', '.join(unknown)}")
    failed = [name for name in names if not _ran(name)]
    for after in ("measured", "plots", "tables"):
        subprocess.run([sys.executable, "-m", f"benchmarks.{after}"], check=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _ran(name: str) -> bool:
    print(f"== {name}", flush=True)
    began = time.monotonic()
    code = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode
    print(
        f"== {name}: {'done' if code == 0 else f'FAILED with {code}'} in {time.monotonic() - began:.0f} s", flush=True
    )
    return code == 0


if __name__ == "__main__":
    main()
