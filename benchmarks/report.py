"""What every benchmark does with its figures: print them, and keep them with the machine they were seen on."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(os.environ.get("FRESHLENS_BENCH_RESULTS") or Path(__file__).parent / "results")
"""Of this checkout; another folder for trials with few rows."""


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and maximum of durations, in milliseconds."""
    values = np.asarray(seconds) * 1000
    quantiles = {f"p{q}_ms": round(float(np.percentile(values, q)), 2) for q in (50, 90, 99)}
    return {**quantiles, "max_ms": round(float(values.max()), 2), "samples": len(values)}


def save(name: str, question: str, figures: Mapping[str, Any]) -> None:
    """Write ``results/<name>.json`` and print it."""
    machine = {"cores": os.cpu_count(), "processor": _processor(), "python": platform.python_version()}
    report = {
        "question": question,
        "measured_at": datetime.now(UTC).date().isoformat(),
        "machine": machine,
        "figures": dict(figures),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
