"""The error tree: stable codes, each said once, and a module docstring that names every class."""

import re
from collections.abc import Iterator

import pytest

import schemas.errors
from schemas.errors import FreshlensError, QueryError, SettingsError, UnsupportedSchema

BRANCHES = (
    "InvalidRecord", "TransientError", "Backpressure", "StorageError", "QueryError", "DeadLetterLimit", "SettingsError",
)  # fmt: skip


def tree(root: type[FreshlensError] = FreshlensError) -> Iterator[type[FreshlensError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == schemas.errors.__name__:
            yield from tree(child)


CLASSES = sorted(set(tree()), key=lambda cls: cls.__name__)
every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


@every_class
def test_codes_are_kebab_case(cls: type[FreshlensError]) -> None:
    for code in (cls.code, *cls.codes):
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)


def test_a_code_belongs_to_one_class() -> None:
    """Two exceptions: a bad query is one code however it is bad, and a picture that never came keeps its code."""
    owners: dict[str, list[str]] = {}
    for cls in CLASSES:
        for code in (cls.code, *cls.codes):
            owners.setdefault(code, []).append(cls.__name__)
    shared = {code: sorted(names) for code, names in owners.items() if len(names) > 1}
    assert shared == {
        "invalid-query": ["InvalidQuery", "QueryError"],
        "image-source-unavailable": ["ImageSourceUnavailable", "RetriesExhausted"],
    }


@every_class
def test_the_module_docstring_draws_the_tree(cls: type[FreshlensError]) -> None:
    assert re.search(rf"\b{cls.__name__}\b", schemas.errors.__doc__ or "")


@every_class
def test_every_class_is_in_one_branch_and_says_what_it_means(cls: type[FreshlensError]) -> None:
    assert cls.__doc__
    branches = [name for name in BRANCHES if issubclass(cls, getattr(schemas.errors, name))]
    assert len(branches) == (0 if cls is FreshlensError else 1)


def test_an_instance_carries_one_of_the_codes_of_its_class() -> None:
    assert UnsupportedSchema("no").code == "unsupported-schema"
    assert UnsupportedSchema("no", code="schema-registry-not-configured").code == "schema-registry-not-configured"
    with pytest.raises(AssertionError):
        UnsupportedSchema("no", code="storage")


def test_a_settings_error_lists_every_problem_at_once() -> None:
    error = SettingsError(["a is missing", "b is wrong"], code="port-in-use")
    assert error.problems == ["a is missing", "b is wrong"]
    assert error.message == "a is missing; b is wrong"


@every_class
def test_a_query_error_is_the_clients_to_fix(cls: type[FreshlensError]) -> None:
    if issubclass(cls, QueryError):
        assert 400 <= cls.status < 500
