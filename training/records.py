"""What remains of a run: ``run.json`` with settings, versions and curves, and ``run.svg`` of the curves."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "open_clip_torch", "timm", "numpy")


def write_record(
    out: Path,
    settings: Mapping[str, Any],
    curves: Sequence[Mapping[str, float]],
    losses: Sequence[str] = (),
    **more: Any,
) -> None:
    """Both files, each replaced as a whole.

    Args:
        settings: all that decides the result, seed included.
        curves: one entry for each look, each with its ``step``; names with ``loss`` are drawn on the left.
        losses: further names to be drawn there.
        more: what else is worth keeping, such as counts of the data.
    """
    versions = {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
    record = {"settings": dict(settings), "versions": versions, **more, "curves": [dict(each) for each in curves]}
    _replace(out / "run.json", json.dumps(record, indent=1, default=str) + "\n")
    if curves:
        _plot(out, curves, losses)


def _plot(out: Path, curves: Sequence[Mapping[str, float]], losses: Sequence[str]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(7.2, 3.2))
    for name in dict.fromkeys(name for each in curves for name in each if name not in ("step", "seconds_per_step")):
        points = [(each["step"], each[name]) for each in curves if name in each]
        axes[0 if "loss" in name or name in losses else 1].plot(
            *zip(*points, strict=True), marker=".", label=name.replace("_", " ")
        )
    axes[0].set(xlabel="step", ylabel="loss")
    axes[1].set(xlabel="step", ylim=(0, None))
    for axis in axes:
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=7, frameon=False)
    figure.tight_layout()
    temporary = out / "run.svg.tmp"
    figure.savefig(temporary, format="svg", metadata={"Date": None})
    temporary.replace(out / "run.svg")
    pyplot.close(figure)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)
