"""What the capacity calculator rests on, copied from the results: ``python -m benchmarks.measured``."""

import json
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.report import RESULTS
from freshlens.capacity import Measured

TARGET = Path(__file__).parent.parent / "freshlens" / "measured.json"
_MAPPED = ("vectors.f16", "index.faiss")


def from_results() -> Measured:
    """From growth, memory, compaction and restart of the clustered vectors.

    Raises:
        FileNotFoundError: one of them was not measured yet.
    """
    growth, memory = _figures("growth"), _figures("memory")["clustered"]["ours"]
    compaction, restart = _figures("compaction")["clustered"], _figures("restart")["clustered"]
    last, fits = growth["steps"][-1], growth["fitted"]
    at_0, per_million = _search_line(growth)
    made = compaction["compaction"]
    compacted = compaction["rows"] + compaction["extra"]
    return Measured(
        dim=512,
        rows_max=last["rows"],
        recall_at_10=last["recall@10"],
        search_ms=at_0,
        search_ms_per_million_rows=per_million,
        anonymous_bytes_per_row=memory["anonymous_bytes_per_row"],
        column_bytes_per_row=_columns(memory["file_bytes_per_row"]),
        compactor_bytes_per_row=round(made["peak_above_start_mib"] * 2**20 / compacted, 1),
        compacted_rows_per_s=float(last["rows"] / last["compaction_s"]),
        apply_ms=restart["s_per_1000_delta_rows"],
        open_s_per_million_rows=max(0.001, fits["open_s"]["per_million_rows"]),
    )


def _search_line(growth: dict[str, Any]) -> tuple[float, float]:
    """Milliseconds at no rows, and per million rows.

    Between two near sizes the line may fall, since each build chooses its own probes; then all is put down to rows.
    """
    fit, last = growth["fitted"]["mean_ms"], growth["steps"][-1]
    if fit["at_0"] > 0 and fit["per_million_rows"] > 0:
        return fit["at_0"], fit["per_million_rows"]
    return 0.01, round(last["mean_ms"] / last["rows"] * 1e6, 3)


def _columns(sizes: dict[str, float]) -> float:
    return round(sum(size for name, size in sizes.items() if name not in _MAPPED), 1)


def _figures(name: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())["figures"]
    return figures


def main() -> None:
    """Write the calculator's figures, once all of them are there."""
    try:
        figures = from_results()
    except FileNotFoundError as missing:
        print(f"{TARGET.name} stays as it is: {missing.filename} is not there")
        return
    TARGET.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
    print(TARGET.read_text())


if __name__ == "__main__":
    main()
