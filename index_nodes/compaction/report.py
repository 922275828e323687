"""What people read after a compaction: one JSON document, and the same as a page that needs nothing but itself."""

import html
from collections.abc import Container, Mapping
from importlib import resources
from pathlib import PurePosixPath
from string import Template

import msgspec
import numpy as np

from index_nodes.compaction.changes import Changes, ProductChange
from index_nodes.compaction.gate import Answers
from index_nodes.generations.manifest import Manifest
from index_nodes.views.view import IndexView
from schemas.lane import Lane
from topics.store import ObjectStore

_HUBNESS_ROWS = 2000
_NEAREST = 10
_TOP = 0.01
_BAR_WIDTH, _BAR_HEIGHT = 360, 18


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One compaction. ``seq`` None: it was rejected, for the reasons in ``rejected``.

    ``hubness``: see :func:`hubness_of`; None where there are too few products to tell.
    """

    manifest: Manifest
    seq: int | None
    rejected: tuple[str, ...]
    records: int
    changes: Changes
    answers: Answers
    hubness: float | None
    stage_seconds: dict[str, float]


def report_keys(lane: Lane, shard: int, name: int | str) -> tuple[str, str]:
    """Where the JSON and the HTML of a head (by its number), or of a rejected build (by its name), are in the store."""
    stem = f"{name:012d}" if isinstance(name, int) else name
    folder = _folder(lane, shard)
    return f"{folder}/{stem}.json", f"{folder}/{stem}.html"


def delete_old_reports(store: ObjectStore, lane: Lane, shard: int, oldest_seq: int, rejected: Container[str]) -> None:
    """Remove the reports of heads before ``oldest_seq``, and of builds whose rejection is not in ``rejected``."""
    for key in store.list(_folder(lane, shard)):
        name = PurePosixPath(key).stem
        is_kept = int(name) >= oldest_seq if name.isdecimal() else name in rejected
        if not is_kept:
            store.delete(key)


def _folder(lane: Lane, shard: int) -> str:
    return f"reports/{lane.layout.layout_id}/{lane.name}/{shard}"


def save_report(store: ObjectStore, lane: Lane, report: Report) -> tuple[str, str]:
    """Write both forms; returns their keys."""
    name = report.seq if report.seq is not None else report.manifest.build
    as_json, as_html = report_keys(lane, report.manifest.shard, name)
    store.put(as_json, msgspec.json.format(msgspec.json.encode(report), indent=2))
    store.put(as_html, page(report).encode())
    return as_json, as_html


def hubness_of(view: IndexView, rows_max: int = _HUBNESS_ROWS) -> float | None:
    """The share of all answers that the most answered 1 % of products take; 0.01 would be perfectly even.

    Measured among a sample of products, each asked for its ten nearest others, exactly: the figure is comparable from
    one generation to the next whatever their sizes. None below a hundred products.
    """
    random = np.random.default_rng(2)
    rows = [rows[0] for slot in random.permutation(view.slots)[: 4 * rows_max].tolist() if (rows := view.rows(slot))]
    if len(rows) < 1 / _TOP:
        return None
    vectors = np.stack([view.vector(row) for row in rows[:rows_max]]).astype(np.float32)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -2.0)
    nearest = np.argpartition(scores, -_NEAREST, axis=1)[:, -_NEAREST:]
    times = np.sort(np.bincount(nearest.ravel(), minlength=len(vectors)))[::-1]
    top = max(1, round(len(vectors) * _TOP))
    return round(float(times[:top].sum() / times.sum()), 4)


def page(report: Report) -> str:
    """The report as HTML."""
    template = resources.files("index_nodes.compaction").joinpath("report.html").read_text()
    made = report.manifest
    return Template(template).substitute(
        title=html.escape(_title(report)),
        verdict="".join(f"<p class='bad'>{html.escape(reason)}</p>" for reason in report.rejected),
        facts=_table(_facts(report)),
        changes=bars(report.changes.counts),
        examples=_examples(report.changes),
        sizes=bars({name: facts.size for name, facts in sorted(made.files.items())}, unit="bytes"),
        stages=bars(report.stage_seconds, unit="s"),
        quality=_table(_quality(report)),
        codebook=_table(_codebook(made)),
    )


def bars(values: Mapping[str, float], unit: str = "") -> str:
    """A bar chart as SVG, longest value at full width."""
    greatest = max(values.values(), default=0) or 1
    lines = []
    for number, (name, value) in enumerate(values.items()):
        y = number * (_BAR_HEIGHT + 4)
        width = _BAR_WIDTH * value / greatest
        figure = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
        lines.append(
            f'<text x="150" y="{y + 13}" text-anchor="end">{html.escape(name)}</text>'
            f'<rect x="156" y="{y}" width="{width:.1f}" height="{_BAR_HEIGHT}"/>'
            f'<text x="{162 + width:.1f}" y="{y + 13}">{figure} {unit}</text>'
        )
    height = len(values) * (_BAR_HEIGHT + 4)
    return f'<svg role="img" viewBox="0 0 660 {height}" width="660" height="{height}">{"".join(lines)}</svg>'


def _title(report: Report) -> str:
    what = f"head {report.seq}" if report.seq is not None else f"rejected build {report.manifest.build}"
    return f"Shard {report.manifest.shard}: {what}"


def _facts(report: Report) -> dict[str, object]:
    made = report.manifest
    return {
        "build": made.build,
        "made because": made.reason,
        "made from": f"head {made.parent_seq}" if made.parent_seq else "the beginning of the log",
        "records folded in": report.records,
        "products": made.products,
        "rows": made.rows,
        "tombstones kept": made.tombstones,
        "tombstones forgotten": made.dropped_tombstones,
        "next offsets": ", ".join(f"{partition}: {offset}" for partition, offset in made.next_offsets.items()),
    }


def _quality(report: Report) -> dict[str, object]:
    index, answers = report.manifest.index, report.answers
    return {
        "recall@10 at build": f"{index.recall_at_10:.3f}",
        "search": f"{index.nprobe} of {index.nlist} lists" if index.nlist else "exact",
        "sampled queries": answers.queries,
        "exact ten found by the build": f"{answers.built:.3f}",
        "by the generation before and the log": f"{answers.served:.3f}",
        "exact answers that differ": answers.differing,
        "answers taken by the top 1 % of products": "-" if report.hubness is None else f"{report.hubness:.1%}",
    }


def _codebook(made: Manifest) -> dict[str, object]:
    index = made.index
    if not index.nlist:
        return {"codebook": "none: so few rows are scanned"}
    return {
        "trainings so far": index.codebook_epoch,
        "trained for this generation": f"yes: {made.retrained}" if made.retrained else "no",
        "rows trained for": index.trained_rows,
        "list imbalance (at training)": f"{index.imbalance:.2f} ({index.trained_imbalance:.2f})",
        "residual error (at training)": f"{index.residual:.4f} ({index.trained_residual:.4f})",
    }


def _table(facts: Mapping[str, object]) -> str:
    rows = (
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(_figure(fact))}</td></tr>" for name, fact in facts.items()
    )
    return f"<table>{''.join(rows)}</table>"


def _figure(fact: object) -> str:
    return f"{fact:,}" if isinstance(fact, int) else str(fact)


def _examples(changes: Changes) -> str:
    named = {"added": changes.added_first, "removed": changes.removed_first, "changed": changes.changed_first}
    return "".join(
        f"<details><summary>{kind}: the first {len(first)}</summary>{_table(dict(map(_described, first)))}</details>"
        for kind, first in named.items()
        if first
    )


def _described(change: ProductChange) -> tuple[str, str]:
    versions = (str(version) for version in (change.before, change.after) if version is not None)
    return change.product, "version " + " → ".join(versions)
