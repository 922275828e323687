"""``freshlens rules``: set, shown, listed, rolled back, on record."""

import json
from pathlib import Path

from click.testing import CliRunner, Result

from freshlens.cli import cli

PIN = {"name": "campaign", "action": "pin", "products": ["a", "b"], "position": 2}
BOOST = {"name": "own brand", "action": "boost", "where": {"brand": "own"}}


def rules(data: Path, *arguments: str) -> Result:
    runner = CliRunner(env={"FRESHLENS_STORE": "", "FRESHLENS_TENANT": ""})
    return runner.invoke(cli, ["--data", str(data), "--tenant", "shop", "rules", *arguments])


def file(folder: Path, *given: dict) -> str:
    path = folder / "rules.json"
    path.write_text(json.dumps({"rules": given}))
    return str(path)


def shown(data: Path, *arguments: str) -> list[str]:
    result = rules(data, "show", *arguments)
    assert result.exit_code == 0, result.output
    return [rule["name"] for rule in json.loads(result.stdout)["rules"]]


def test_rules_are_set_shown_and_rolled_back(tmp_path: Path) -> None:
    assert shown(tmp_path) == []
    assert "version 1: 1 rules" in rules(tmp_path, "set", file(tmp_path, PIN)).output
    assert "version 2: 2 rules" in rules(tmp_path, "set", file(tmp_path, PIN, BOOST), "--after", "1").output
    assert shown(tmp_path) == ["campaign", "own brand"]
    assert shown(tmp_path, "1") == ["campaign"]
    assert rules(tmp_path, "rollback", "1").exit_code == 0
    assert shown(tmp_path) == ["campaign"]
    history = rules(tmp_path, "history").output
    assert "own brand" in history
    assert "(as version 1)" in history
    assert rules(tmp_path, "rollback", "0").exit_code == 0
    assert shown(tmp_path) == []
    audit = [json.loads(line) for line in (tmp_path / "logs" / "audit.log").read_text().splitlines()]
    assert [(line["action"], line["version"]) for line in audit] == [
        ("rules-set", 1),
        ("rules-set", 2),
        ("rules-rollback", 3),
        ("rules-rollback", 4),
    ]


def test_what_is_shown_can_be_set_again(tmp_path: Path) -> None:
    window = {"starts": "2026-12-01T00:00:00+01:00", "ends": "2027-01-01T00:00:00Z", "words": ["coat"]}
    rules(tmp_path, "set", file(tmp_path, {**PIN, **window}))
    (tmp_path / "again.json").write_text(rules(tmp_path, "show").stdout)
    assert rules(tmp_path, "set", str(tmp_path / "again.json")).exit_code == 0
    assert rules(tmp_path, "show", "1").stdout == rules(tmp_path, "show", "2").stdout


def test_a_file_that_is_wrong_or_late_changes_nothing(tmp_path: Path) -> None:
    rules(tmp_path, "set", file(tmp_path, PIN))
    late = rules(tmp_path, "set", file(tmp_path, BOOST), "--after", "0")
    assert getattr(late.exception, "code", None) == "rules-changed"
    wrong = rules(tmp_path, "set", file(tmp_path, {**PIN, "position": 0}))
    assert getattr(wrong.exception, "code", None) == "invalid-query"
    assert getattr(rules(tmp_path, "rollback", "7").exception, "code", None) == "not-found"
    assert shown(tmp_path) == ["campaign"]
