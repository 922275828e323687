"""The one reader of settings: defaults, bounds, and every problem at once."""

from pathlib import Path

import pytest

from schemas.environment import Environment
from schemas.errors import SettingsError


@pytest.mark.parametrize("environ", [{}, {"X": ""}])
def test_an_empty_variable_is_as_an_absent_one(environ: dict[str, str]) -> None:
    env = Environment(environ)
    assert (env.text("X"), env.text("X", "a")) == ("", "a")
    assert env.integer("X", 7, 1, 9) == 7
    assert (env.number("X", None, 0, 1), env.number("X", 0.5, 0, 1)) == (None, 0.5)
    assert env.seconds("X", 2.5) == 2.5
    env.finish()


def test_what_is_set_wins_over_the_default() -> None:
    env = Environment({"X": "3"})
    assert (env.text("X", "a"), env.integer("X", 7, 3, 3)) == ("3", 3)
    assert (env.number("X", None, 3, 3), env.seconds("X", 1.0)) == (3.0, 3.0)
    env.finish()


@pytest.mark.parametrize("text", ["0", "10", "-1", "1.5", "1e1", "0x2", "²", "two", " "])
def test_integers_out_of_bounds_or_no_integers(text: str) -> None:
    env = Environment({"X": text})
    assert env.integer("X", 7, 1, 9) == 7
    assert env.problems == [f"X={text!r} must be a whole number from 1 to 9"]


@pytest.mark.parametrize("text", ["-0.1", "1.1", "nan", "inf", "much", " "])
def test_numbers_out_of_bounds_or_no_numbers(text: str) -> None:
    env = Environment({"X": text})
    assert env.number("X", None, 0, 1) is None
    assert env.problems == [f"X={text!r} must be a number from 0 to 1"]


@pytest.mark.parametrize("text", ["0", "-1", "1000000", "nan", "inf", "soon"])
def test_seconds_are_more_than_none_and_fewer_than_a_million(text: str) -> None:
    env = Environment({"X": text})
    assert env.seconds("X", 5.0) == 5.0
    assert len(env.problems) == 1
    assert f"X={text!r}" in env.problems[0]


def test_the_store_lies_in_the_data_directory_unless_it_is_named(tmp_path: Path) -> None:
    assert Environment({"FRESHLENS_DATA": str(tmp_path)}).store_url() == f"file://{tmp_path.resolve()}/store"
    assert Environment({"FRESHLENS_DATA": "x", "FRESHLENS_STORE": "file:///s"}).store_url() == "file:///s"


def test_the_data_directory_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Environment({}).data() == tmp_path.resolve() / ".freshlens"
    assert Environment({"FRESHLENS_DATA": "d"}).store_url() == f"file://{tmp_path.resolve()}/d/store"


def test_every_problem_is_said_at_once_also_those_of_a_section() -> None:
    def refuse(environ: object) -> str:
        raise SettingsError(["b is wrong", "c is missing"])

    env = Environment({"A": "x"})
    env.integer("A", 0, 0, 1)
    assert env.section(refuse, "default") == "default"
    with pytest.raises(SettingsError) as raised:
        env.finish()
    assert raised.value.problems == ["A='x' must be a whole number from 0 to 1", "b is wrong", "c is missing"]


def test_a_section_reads_the_same_environment() -> None:
    assert Environment({"A": "x"}).section(lambda environ: environ["A"], "default") == "x"
