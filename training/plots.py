"""Pictures of a training run and of what came of it: `python -m training.plots` writes docs/images/encoder*.svg."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes

from processors.bundled import FOLDER

IMAGES = Path(__file__).parent.parent / "docs" / "images"
mpl.rcParams |= {
    "figure.figsize": (7.2, 3.2), "font.size": 9, "axes.grid": True, "grid.alpha": 0.25, "axes.spines.top": False,
    "axes.spines.right": False, "svg.fonttype": "none", "svg.hashsalt": "freshlens", "legend.frameon": False,
}  # fmt: skip


def learning(run: dict[str, Any], axes: list[Axes]) -> None:
    """Losses, and the figures that the run was watched by."""
    steps = [each["step"] for each in run["curves"]]
    for name in ("classes", "found", "views", "texts"):
        axes[0].plot(steps, [each[name] for each in run["curves"]], label=name)
    for name in ("grocery_recall_1", "grocery_recall_5", "clothing_precision_5"):
        axes[1].plot(steps, [each[name] for each in run["curves"]], label=name.replace("_", " "))
    axes[0].set(xlabel="step", ylabel="loss", ylim=(0, None))
    axes[1].set(xlabel="step", ylabel="on validation photos", ylim=(0, 1))


def faults(figures: dict[str, Any], axes: list[Axes]) -> None:
    """Recall by fault and severity."""
    curves = {name: each for name, each in figures["robustness"].items() if name != "severities"}
    for axis, k in zip(axes, (1, 5), strict=True):
        for name, each in curves.items():
            axis.plot(figures["robustness"]["severities"], each[f"recall_{k}"], marker=".", label=name)
        axis.set(xlabel="severity", ylabel=f"recall@{k} among 81", ylim=(0, 1))


def main() -> None:
    """Draw what `training.export` wrote."""
    made = {
        "encoder-training": (learning, json.loads((FOLDER / "training_run.json").read_text())),
        "encoder-robustness": (faults, json.loads((FOLDER / "figures.json").read_text())),
    }
    for name, (draw, data) in made.items():
        figure, axes = pyplot.subplots(1, 2)
        draw(data, list(axes))
        for axis in axes:
            axis.legend(fontsize=7)
        figure.tight_layout()
        figure.savefig(IMAGES / f"{name}.svg", metadata={"Date": None})
        pyplot.close(figure)
        print(IMAGES / f"{name}.svg")


if __name__ == "__main__":
    main()
