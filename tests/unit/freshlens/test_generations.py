"""``freshlens compact`` and ``freshlens generations``, on a log in memory."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from freshlens.cli import cli
from freshlens.cli import generations as commands
from index_nodes.compaction import gate
from schemas.errors import BuildRejected, HeadExists, LogTruncated, ManifestCorrupt
from schemas.index_log import IndexLogRecord
from tests.unit.index_nodes import records


class Shop:
    """A log, and the command line of its data directory."""

    def __init__(self, folder: Path) -> None:
        self.log = records.MemoryLog(records.lane_of(partitions=2))
        self._environ = {
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
            "FRESHLENS_SPACE": str(records.TINY),
            "FRESHLENS_PARTITIONS": "2",
            "FRESHLENS_STORE": str(folder / "store"),
            "COLUMNS": "120",
        }
        self._data = folder / "data"

    def publish(self, *items: IndexLogRecord) -> None:
        for item in items:
            self.log.append(item)

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["--data", str(self._data), *arguments], env=self._environ)

    def __call__(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output


@pytest.fixture
def freshlens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop(tmp_path)
    monkeypatch.setattr(commands, "KafkaLog", lambda settings: shop.log)
    return shop


def product(name: str, version: int = 1) -> IndexLogRecord:
    return records.content(name, version, [records.picture(version)])


def test_a_compaction_says_where_its_report_is(freshlens: Shop, tmp_path: Path) -> None:
    freshlens.publish(product("a"), product("b"))
    said = freshlens("compact")
    assert "head 1, 2 products" in said
    page = Path(said.split("report ")[1].splitlines()[0])
    assert page.is_relative_to(tmp_path)
    assert "default/a" in page.read_text()
    assert '"added": 2' in freshlens("generations", "show", "1", "--report")
    assert "nothing new" in freshlens("compact")


def test_who_is_overtaken_by_the_compactor_has_what_they_wanted(
    freshlens: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    compact_once = commands.compaction.compact_once

    def overtaken(*arguments: object, **options: object) -> None:
        compact_once(*arguments, policy=options["policy"])  # type: ignore[arg-type]
        raise HeadExists("head 1 is there")

    freshlens.publish(product("a"))
    monkeypatch.setattr(commands.compaction, "compact_once", overtaken)
    assert "the compactor published a generation meanwhile" in freshlens("compact")
    assert "active" in freshlens("generations", "list")


def test_a_difference_names_the_first_and_counts_all(freshlens: Shop) -> None:
    freshlens.publish(product("stays"), product("grows"), product("goes"))
    freshlens("compact")
    freshlens.publish(product("grows", 2), records.delete("goes", 2), product("comes-1"), product("comes-2"))
    freshlens("compact")
    said = freshlens("generations", "diff", "1", "2")
    assert "2 added, 1 removed, 1 changed" in said
    rows = {line.split()[1]: line.split()[3::2] for line in said.splitlines() if "default/" in line}
    assert rows == {
        "default/comes-1": ["-", "1"],
        "default/comes-2": ["-", "1"],
        "default/goes": ["1", "-"],
        "default/grows": ["1", "2"],
    }
    backwards = freshlens("generations", "diff", "2", "1", "-n", "0")
    assert backwards == "1 added, 2 removed, 1 changed\n"


def test_a_list_shows_what_became_of_each(freshlens: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    freshlens.publish(product("a"))
    freshlens("compact")
    freshlens.publish(product("b"))
    with monkeypatch.context() as patched:
        patched.setattr(gate, "RECALL_FLOOR", 1.1)
        assert isinstance(freshlens.run("compact").exception, BuildRejected)
    listed = freshlens("generations", "list").splitlines()
    assert [line.split()[2] for line in listed if " active " in line] == ["active"]
    (rejected,) = (line for line in listed if " rejected " in line)
    assert "finds 1.000 of the ten nearest" in " ".join(rejected.split())
    build = rejected.split()[0]
    assert "head 2 is build" in freshlens("generations", "accept", build, "--reason", "it is fine")
    listed = freshlens("generations", "list").splitlines()
    assert [(line.split()[0], line.split()[2]) for line in listed if "T" in line and "-" in line[:30]] == [
        ("1", "retiring"),
        ("2", "active"),
    ]
    assert isinstance(freshlens.run("generations", "accept", build, "--reason", "again").exception, HeadExists)


def test_a_rollback_to_nowhere_says_why(freshlens: Shop) -> None:
    freshlens.publish(product("a"))
    freshlens("compact")
    assert isinstance(freshlens.run("generations", "rollback", "7").exception, ManifestCorrupt)
    freshlens.log.append(product("a", 2))
    freshlens.log.begin = [len(partition) for partition in freshlens.log.records]
    assert isinstance(freshlens.run("generations", "rollback", "1").exception, LogTruncated)
    assert freshlens.run("generations", "show", "1", "--report").exit_code == 0
    assert "no report" in freshlens.run("generations", "show", "7", "--report").output
