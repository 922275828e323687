"""docs/settings.md names every variable that the code reads, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("schemas", "topics", "processors", "streams", "index_nodes", "query_api", "freshlens")
NAME = r"(?:FRESHLENS|KAFKA|SCHEMA_REGISTRY|PROMETHEUS)_[A-Z0-9_]+"
NOT_FOR_USERS = {"FRESHLENS_DATASETS", "FRESHLENS_CHROMIUM", "FRESHLENS_FIRE_PRODUCTS"}
"""Read by tests and training only."""


def test_every_variable_is_documented_and_every_documented_one_exists() -> None:
    sources = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    read = {name for path in sources for name in re.findall(rf'"({NAME})"', path.read_text())}
    documented = set(re.findall(rf"`({NAME})`", (ROOT / "docs" / "settings.md").read_text()))
    assert documented == read - NOT_FOR_USERS
