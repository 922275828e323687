"""docs/errors.md documents every code, and no other."""

import re
from pathlib import Path

from freshlens.client import ApiError
from schemas.errors import FreshlensError, QueryError

OURS = ("schemas.errors", ApiError.__module__)
PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]


def classes(root: type[FreshlensError]) -> set[type[FreshlensError]]:
    return {root}.union(*(classes(child) for child in root.__subclasses__() if child.__module__ in OURS))


def test_every_code_has_one_row_with_its_meaning_and_the_way_out() -> None:
    codes = {code for cls in classes(FreshlensError) for code in (cls.code, *cls.codes)}
    assert sorted(row[0] for row in ROWS) == sorted(f"`{code}`" for code in codes)
    assert all(len(cell) > 2 for row in ROWS for cell in row)


def test_the_status_of_a_query_error_is_right() -> None:
    statuses = {f"`{cls.code}`": str(cls.status) for cls in classes(QueryError)}  # type: ignore[attr-defined]
    assert {row[0]: row[1] for row in ROWS if re.fullmatch(r"\d{3}", row[1])} == statuses
