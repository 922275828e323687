"""The pages say what the results say, and every result that has a page has its table there."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from benchmarks import measured, tables
from benchmarks.report import RESULTS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_the_tables_are_those_of_the_results(page: Path) -> None:
    text = page.read_text()
    assert text == tables.filled(text), "run `python -m benchmarks.tables`"


def test_every_result_is_on_a_page() -> None:
    shown = {name for page in tables.PAGES for name in re.findall(r"<!-- figures: (\w+) -->", page.read_text())}
    assert {path.stem for path in RESULTS.glob("*.json")} <= shown
    assert set(tables.RENDERED) <= shown


def test_every_picture_that_is_shown_was_measured_and_drawn() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    for name in re.findall(r"\(images/(\w+)\.svg\)", text):
        measured_yet, drawn_yet = (RESULTS / f"{name}.json").exists(), (ROOT / "docs/images" / f"{name}.svg").exists()
        assert measured_yet == drawn_yet, f"run `python -m benchmarks.plots`: {name}"


def test_a_table_is_filled_between_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    page = "before\n<!-- figures: some_name -->\nold\n<!-- end: some_name -->\nafter\n"
    assert "Not measured yet." in tables.filled(page)
    machine = {"cores": 2, "processor": "P", "python": "3.11"}
    report = {"measured_at": "2026-01-02", "machine": machine, "figures": {"a": {"b": 0.123456}, "rows": 200_000}}
    (tmp_path / "some_name.json").write_text(json.dumps(report))
    filled = tables.filled(page)
    assert "| a b | 0.123 |" in filled
    assert "| rows | 200,000 |" in filled
    assert "2026-01-02, 2 cores of P, Python 3.11" in filled
    assert filled.startswith("before\n")
    assert filled.endswith("after\n")
    assert tables.filled(filled) == filled


def test_the_calculator_rests_on_the_results() -> None:
    wanted = ("growth", "memory", "compaction", "restart")
    if all((RESULTS / f"{name}.json").exists() for name in wanted):
        figures = msgspec.json.decode(measured.TARGET.read_bytes(), type=measured.Measured)
        assert figures == measured.from_results(), "run `python -m benchmarks.measured`"
    else:
        with pytest.raises(FileNotFoundError):
            measured.from_results()
