"""A dump cut into slices: every row once, with its number, whatever the file looks like."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freshlens.backfill import slices
from freshlens.backfill.dump import Dump, open_dump
from freshlens.backfill.rows import Row, Slice
from freshlens.backfill.slices import by_popularity, popularity_of, product_ids, rows_of, slices_of
from schemas.errors import SettingsError


def parquet(path: Path, rows: int, group: int, **columns: list[Any]) -> None:
    table = pa.table({"product_id": [f"{path.stem}-{number}" for number in range(1, rows + 1)], **columns})
    pq.write_table(table, path, row_group_size=group)


def read(dump: Dump, cut: list[Slice], popularity: str | None = None) -> list[tuple[int, Row]]:
    return [(each.file, row) for each in cut for row in rows_of(dump, each, popularity)]


def ids(rows: list[tuple[int, Row]]) -> list[str]:
    return [json.loads(row.line)["product_id"] for _, row in rows]


@pytest.mark.parametrize("slice_rows", [1, 5, 7, 1000])
def test_parquet_is_cut_between_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slice_rows: int) -> None:
    monkeypatch.setattr(slices, "SLICE_ROWS", slice_rows)
    parquet(tmp_path / "a.parquet", 12, 5)
    dump = open_dump(str(tmp_path / "a.parquet"))
    cut = slices_of(dump)
    found = read(dump, cut)
    assert [row.number for _, row in found] == list(range(1, 13))
    assert ids(found) == [f"a-{number}" for number in range(1, 13)]
    assert [(each.last - each.first + 1, each.rows) for each in cut] == [(each.rows, each.rows) for each in cut]
    assert sum(each.rows for each in cut) == 12
    assert [name for each in cut for name in product_ids(dump, each)] == ids(found)


@pytest.mark.parametrize("slice_bytes", [1, 40, 1 << 20])
@pytest.mark.parametrize("block_bytes", [7, 1 << 20])
def test_lines_are_cut_at_their_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slice_bytes: int, block_bytes: int
) -> None:
    monkeypatch.setattr(slices, "SLICE_BYTES", slice_bytes)
    monkeypatch.setattr(slices, "_BLOCK_BYTES", block_bytes)
    texts = [json.dumps({"product_id": f"p{number}"}) for number in range(1, 8)]
    (tmp_path / "b.jsonl").write_text("\n\n" + "\r\n".join(texts[:4]) + "\n  \n" + "\n".join(texts[4:]))
    dump = open_dump(str(tmp_path))
    cut = slices_of(dump)
    found = read(dump, cut)
    assert ids(found) == [f"p{number}" for number in range(1, 8)]
    assert [row.number for _, row in found] == [3, 4, 5, 6, 8, 9, 10]
    assert sum(each.rows for each in cut) == 7
    for each in cut:
        assert all(each.first <= row.number <= each.last for row in rows_of(dump, each))


def test_a_compressed_file_is_one_slice(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"product_id": f"p{number}"}) + "\n" for number in range(5))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    dump = open_dump(str(tmp_path))
    (only,) = slices_of(dump)
    assert ids(read(dump, [only])) == [f"p{number}" for number in range(5)]


def test_a_line_that_is_too_long_is_one_broken_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "LINE_BYTES_MAX", 100)
    monkeypatch.setattr(slices, "_BLOCK_BYTES", 64)
    good = json.dumps({"product_id": "good"})
    (tmp_path / "b.jsonl").write_text(f"{good}\n{'x' * 1000}\n{good}\n{'y' * 1000}")
    dump = open_dump(str(tmp_path))
    (only,) = slices_of(dump)
    found = [row for _, row in read(dump, [only])]
    assert [(row.number, row.broken is None) for row in found] == [(1, True), (2, False), (3, True), (4, False)]
    assert only.rows == 4
    assert list(product_ids(dump, only)) == ["good", None, "good", None]


def test_the_files_of_a_folder_in_order_without_what_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "part=2").mkdir()
    (tmp_path / "_temporary").mkdir()
    parquet(tmp_path / "part=2" / "c.parquet", 2, 2)
    parquet(tmp_path / "_temporary" / "d.parquet", 2, 2)
    parquet(tmp_path / "a.parquet", 2, 2)
    for name in ("_SUCCESS", ".hidden.jsonl", "notes.txt"):
        (tmp_path / name).write_text("{}")
    assert [file.name for file in open_dump(str(tmp_path)).files] == ["a.parquet", "part=2/c.parquet"]


def test_the_most_popular_rows_come_first_and_every_row_once(tmp_path: Path) -> None:
    chance = np.random.default_rng(7)
    clicks = [int(value) for value in chance.integers(0, 1000, 300)]
    known: list[int | None] = [None, *clicks[1:]]
    parquet(tmp_path / "a.parquet", 300, 100, clicks=known)
    with (tmp_path / "b.jsonl").open("w") as lines:
        for number, value in enumerate(clicks):
            lines.write(json.dumps({"product_id": f"b-{number}", "clicks": value}) + "\n")
        lines.write("not JSON\n")
    dump = open_dump(str(tmp_path))
    cut = slices_of(dump)
    banded = by_popularity(cut, [popularity_of(dump, each, "clicks") for each in cut])
    found = read(dump, banded, "clicks")
    assert sum(each.rows for each in banded) == 601
    assert len({(file, row.number) for file, row in found}) == 601 == len(found)
    assert all(b"clicks" not in row.line for _, row in found)
    values = {(0, number): value for number, value in enumerate(known, 1)}
    values |= {(1, number): value for number, value in enumerate(clicks, 1)} | {(1, 301): None}
    loaded = [values[file, row.number] for file, row in found]
    order = sorted((value for value in values.values() if value is not None), reverse=True)
    assert min(value for value in loaded[:6] if value is not None) >= order[10], "the first hundredth"
    assert loaded.index(None) >= 300, "what is not known comes in the last band"


def test_popularity_that_says_nothing_changes_nothing(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", 4, 2, clicks=[1, 1, 1, 1])
    dump = open_dump(str(tmp_path))
    cut = slices_of(dump)
    banded = by_popularity(cut, [popularity_of(dump, each, "clicks") for each in cut])
    assert [row.number for _, row in read(dump, banded, "clicks")] == [1, 2, 3, 4]


def test_what_cannot_be_a_dump_says_why(tmp_path: Path) -> None:
    for place, reason in [
        (str(tmp_path / "nothing"), "cannot be read"),
        (str(tmp_path), "no file of"),
        ("ftp://shop/dump", "s3://BUCKET"),
    ]:
        with pytest.raises(SettingsError, match=reason):
            open_dump(place)
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(SettingsError, match=r"a\.parquet cannot be read"):
        slices_of(open_dump(str(tmp_path)))
    parquet(tmp_path / "a.parquet", 2, 2, clicks=["many", "few"], liked=[True, False], sold=["12", "7"])
    dump = open_dump(str(tmp_path))
    for column, reason in [
        ("views", "no such column"),
        *((name, "not a column of numbers") for name in ("clicks", "liked", "sold")),
    ]:
        with pytest.raises(SettingsError, match=reason):
            popularity_of(dump, slices_of(dump)[0], column)
