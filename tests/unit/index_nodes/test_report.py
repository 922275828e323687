"""The report of a compaction: its figures, and a page that needs nothing but itself."""

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from index_nodes.compaction.report import Report, bars, hubness_of, page, report_keys
from schemas.embeddings import Space
from schemas.index_log import IndexLogRecord
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index

NASTY = "<script>alert('x')</script>&"


def saved(index: Index, seq: int) -> tuple[Report, str]:
    as_json, as_html = report_keys(index.lane, 0, seq)
    return msgspec.json.decode(index.store.get(as_json), type=Report), index.store.get(as_html).decode()


def test_it_says_what_changed(index: Index) -> None:
    index.apply(*(records.content(f"p{n}", 1, [records.picture(n)]) for n in range(5)))
    index.compact_and_swap()
    index.apply(
        records.offer("p0", 2, 9.5),
        records.content("p1", 2, [records.picture(1)], title="new words"),
        records.content("p1", 1, [records.picture(1)]),
        records.delete("p2", 2),
        records.content("p5", 1, [records.picture(5)]),
        records.delete("never-seen", 1),
    )
    index.compact()
    report, _ = saved(index, 2)
    assert report.changes.counts == {"added": 1, "removed": 1, "changed": 2}
    assert [(change.product, change.before, change.after) for change in report.changes.changed_first] == [
        ("default/p0", 1, 2),
        ("default/p1", 1, 2),
    ]
    assert (report.seq, report.records, report.manifest.tombstones, report.manifest.parent_seq) == (2, 6, 2, 1)
    assert set(report.stage_seconds) == {"reading the log", "building", "verifying"}
    assert report.answers.queries == 5
    assert (report.answers.served, report.answers.built, report.answers.differing) == (1.0, 1.0, 0)


class Tags(HTMLParser):
    """Every tag, and every address that one would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href")]


def test_the_page_needs_nothing_and_trusts_no_name(index: Index) -> None:
    index.apply(records.content(NASTY, 1, [records.picture(1)]))
    index.compact()
    report, html = saved(index, 1)
    parser = Tags()
    parser.feed(html)
    assert parser.addresses == []
    assert "script" not in parser.tags
    assert NASTY not in html
    assert "&lt;script&gt;" in html
    assert "$" not in html, "a placeholder was left"
    rejected = page(msgspec.structs.replace(report, seq=None, rejected=(NASTY,)))
    assert "rejected build" in rejected
    assert NASTY not in rejected


def test_bars_are_as_long_as_their_values() -> None:
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', bars({"a": 10, "b": 5, "c": 0}))]
    assert widths == [360, 180, 0]
    assert "<rect" in bars({"nothing": 0})


def test_hubs_take_more_than_their_share(tmp_path: Path) -> None:
    """Two products that are among the ten nearest of all others take a fifth of all places."""
    wide = Space("wide-1", 64)
    index = Index(tmp_path, records.lane_of(wide))
    assert hubness_of(index.view) is None, "too few products to tell"
    directions = np.random.default_rng(1).standard_normal((200, 63))
    directions *= 0.75 / np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = np.concatenate([np.ones((200, 1)), directions], axis=1)
    index.apply(*(product(f"p{n}", vector, wide) for n, vector in enumerate(vectors)))
    without = hubness_of(index.view)
    centre = np.eye(64)[0]
    index.apply(*(product(f"hub{n}", centre + 0.001 * n * np.eye(64)[1], wide) for n in range(2)))
    with_hubs = hubness_of(index.view)
    assert without is not None
    assert with_hubs is not None
    assert 0.01 <= without < 0.06
    assert 0.19 < with_hubs < 0.21


def product(name: str, vector: npt.NDArray[np.float64], space: Space) -> IndexLogRecord:
    return records.content(name, 1, [records.unit(vector, space)], space=space)
