"""Plots of benchmarks/results for the docs: ``python -m benchmarks.plots`` writes docs/images/*.svg."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.report import RESULTS

IMAGES = Path(__file__).parent.parent / "docs" / "images"
_AIM = 0.95
mpl.rcParams |= {
    "figure.figsize": (7.2, 3.4), "font.size": 9, "axes.grid": True, "grid.alpha": 0.25, "axes.spines.top": False,
    "axes.spines.right": False, "svg.fonttype": "none", "svg.hashsalt": "freshlens", "legend.frameon": False,
}  # fmt: skip


def runbook(figures: dict[str, Any], axes: list[Axes]) -> None:
    """Recall and p99 by step, compactions as lines."""
    steps = [each["step"] for each in figures["timeline"]]
    axes[0].plot(steps, [each["recall@10"] for each in figures["timeline"]], marker=".", label="recall@10")
    axes[0].axhline(_AIM, color="grey", linestyle="--", linewidth=0.8, label=f"{_AIM}")
    axes[0].set(xlabel="step", ylabel="recall@10", ylim=(0.9, 1.002))
    for name in ("p50_ms", "p99_ms"):
        axes[1].plot(steps, [each[name] for each in figures["timeline"]], marker=".", label=name.removesuffix("_ms"))
    axes[1].set(xlabel="step", ylabel="time of a search, ms", ylim=(0, None))
    for each in figures["timeline"]:
        if "compaction_s" in each:
            for axis in axes:
                axis.axvline(each["step"], color="grey", linewidth=0.6, alpha=0.6)


def growth(figures: dict[str, Any], axes: list[Axes]) -> None:
    """Cost of a query and of a compaction by rows."""
    steps = figures["steps"]
    thousands = [step["rows"] / 1000 for step in steps]
    axes[0].plot(thousands, [step["mean_ms"] for step in steps], marker="o", label="a node")
    if all(step["raw_faiss"] for step in steps):
        axes[0].plot(thousands, [step["raw_faiss"]["mean_ms"] for step in steps], marker="s", label="raw FAISS")
    for step, rows in zip(steps, thousands, strict=True):
        axes[0].annotate(f"{step['recall@10']:.3f}", (rows, step["mean_ms"]), textcoords="offset points", xytext=(2, 6))
    axes[0].set(xlabel="thousand rows", ylabel="mean search, ms (with recall@10)", ylim=(0, None))
    axes[1].plot(thousands, [step["compaction_s"] for step in steps], marker="o", label="compaction")
    axes[1].set(xlabel="thousand rows", ylabel="s", ylim=(0, None))


def filters(figures: dict[str, Any], axes: list[Axes]) -> None:
    """Cost and recall by the share that passes, with a full delta."""
    of = figures.get("clustered") or next(iter(figures.values()))
    for kind in ("unrelated", "around the query", "far from the query"):
        rows = [row for row in of["full_delta"] if row["kind"] == kind]
        shares = [row["share"] * 100 for row in rows]
        axes[0].plot(shares, [row["cost"] for row in rows], marker="o", label=kind)
        axes[1].plot(shares, [row["recall@10"] for row in rows], marker="o", label=kind)
    axes[1].axhline(_AIM, color="grey", linestyle="--", linewidth=0.8)
    axes[0].set(xlabel="% that pass", ylabel="mean time / unfiltered", xscale="log", ylim=(0, None))
    axes[1].set(xlabel="% that pass", ylabel="recall@10", xscale="log", ylim=(0.9, 1.002))


def ablation(figures: dict[str, Any], axes: list[Axes]) -> None:
    """Recall and time by bytes of code."""
    for dim, marker in ((512, "o"), (256, "s"), (128, "^")):
        rows = sorted((row for row in figures["table"] if row["dim"] == dim), key=lambda row: row["bytes_per_row"])
        sizes = [row["bytes_per_row"] for row in rows]
        for axis, name in zip(axes, ("recall@10", "mean_ms"), strict=True):
            axis.plot(
                sizes, [row["rescored"][name] for row in rows], marker=marker, linestyle="", label=f"{dim} dimensions"
            )
    axes[0].axhline(_AIM, color="grey", linestyle="--", linewidth=0.8)
    axes[0].set(xlabel="bytes of code per row", ylabel="recall@10, best 100 re-scored", xscale="log")
    axes[1].set(xlabel="bytes of code per row", ylabel="mean time of a search, ms", xscale="log", ylim=(0, None))


def restart(figures: dict[str, Any], axes: list[Axes]) -> None:
    """Time to SERVING by rows behind the generation; recall beside it."""
    for name, of in figures.items():
        deltas = [int(delta) / 1000 for delta in of["by_delta_rows"]]
        parts = list(of["by_delta_rows"].values())
        axes[0].plot(deltas, [part["start_to_serving_s"] for part in parts], marker="o", label=name)
        axes[1].plot(deltas, [part["recall@10"] for part in parts], marker="o", label=name)
    axes[0].set(xlabel="thousand rows behind the generation", ylabel="start to SERVING, s", ylim=(0, None))
    axes[1].set(xlabel="thousand rows behind the generation", ylabel="recall@10 once serving", ylim=(0.9, 1.002))


DRAWN = (runbook, growth, filters, ablation, restart)


def main() -> None:
    """Draw what was measured; what was not has no picture."""
    IMAGES.mkdir(exist_ok=True)
    for draw in DRAWN:
        path = RESULTS / f"{draw.__name__}.json"
        if path.exists():
            figure, axes = pyplot.subplots(1, 2)
            draw(json.loads(path.read_text())["figures"], list(axes))
            for axis in axes:
                if axis.get_legend_handles_labels()[0]:
                    axis.legend()
            figure.tight_layout()
            figure.savefig(IMAGES / f"{draw.__name__}.svg", metadata={"Date": None})
            pyplot.close(figure)
            print(IMAGES / f"{draw.__name__}.svg")


if __name__ == "__main__":
    main()
