"""Every error has a place in HTTP, and comes back from another process as itself."""

import pytest

from query_api import problems
from schemas import errors
from schemas.errors import FreshlensError

ALL = [kind for kind in problems.error_classes() if kind is not FreshlensError]


def instance(kind: type[FreshlensError]) -> FreshlensError:
    return kind("because")


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_is_mapped(kind: type[FreshlensError]) -> None:
    problem = problems.problem_of(instance(kind))
    if issubclass(kind, errors.QueryError):
        assert problem.status == kind.status
        assert 400 <= problem.status < 500
    elif issubclass(kind, errors.InvalidRecord):
        assert problem.status in (400, 413)
    elif issubclass(kind, errors.TransientError | errors.Backpressure):
        assert problem.status in (503, 504)
    else:
        assert problem.status == 500
        assert "because" not in problem.detail
    assert problem.code == kind.code
    assert problem.title
    assert problem.type == f"/docs#{kind.code}"


@pytest.mark.parametrize("kind", [kind for kind in ALL if issubclass(kind, errors.QueryError | errors.TransientError)])
def test_errors_come_back_by_code(kind: type[FreshlensError]) -> None:
    revived = problems.error_of(kind.code, "because")
    assert isinstance(revived, errors.QueryError if issubclass(kind, errors.QueryError) else errors.TransientError)
    assert (revived.code, revived.message) == (kind.code, "because")


@pytest.mark.parametrize("code", ["undecodable-image", "decoder-timeout", "image-too-large", "encoder-failed"])
def test_pictures_are_refused_by_their_own_code(code: str) -> None:
    revived = problems.error_of(code, "because")
    assert isinstance(revived, errors.InvalidRecord)
    assert revived.code == code


def test_an_unknown_code_is_our_fault() -> None:
    revived = problems.error_of("from-the-future", "because")
    assert problems.status_of(revived) == 500


def test_titles_are_whole_sentences() -> None:
    for kind in ALL:
        assert len(problems.title_of(kind)) > 10, kind
