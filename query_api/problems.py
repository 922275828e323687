"""Errors as RFC 9457 problems: one mapping from our error tree to HTTP, and back from a code to an error."""

import math
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from aiohttp import web

from schemas import errors
from schemas.answers import Problem
from schemas.errors import FreshlensError

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_S = 1.0


def status_of(error: FreshlensError) -> int:
    """The HTTP status that says whose turn it is: 4xx the caller's, 503 and 504 try again, 500 ours."""
    match error:
        case errors.QueryError():
            return error.status
        case errors.ImageTooLarge():
            return 413
        case errors.InvalidRecord():
            return 400
        case errors.DeadlineExceeded():
            return 504
        case errors.TransientError() | errors.Backpressure():
            return 503
        case _:
            return 500


def problem_of(error: FreshlensError, *, items: Any = None) -> Problem:
    """The problem that a caller is told; an error of ours (500) keeps its message to itself."""
    status = status_of(error)
    detail = error.message if status != 500 else "the server has a fault; its log says more"
    return _problem(error.code, title_of(type(error)), status, detail, items)


def of_http(error: web.HTTPException) -> Problem:
    """A refusal of the HTTP library itself: no such route or method, a body that is too large."""
    code = {404: "not-found", 413: "upload-too-large"}.get(error.status, "invalid-query")
    phrase = HTTPStatus(error.status).phrase
    return _problem(code, phrase, error.status, error.text or phrase)


def internal() -> Problem:
    """What is said of a fault that nobody foresaw: nothing of its insides."""
    return problem_of(FreshlensError("internal"))


def response(problem: Problem, *, retry_after_s: float | None = None) -> web.Response:
    """The problem as an HTTP answer; a 503 that names no time asks to come again in a second."""
    headers: dict[str, str] = {}
    if problem.status == 503 or retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(retry_after_s or _RETRY_AFTER_S))
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = msgspec.json.encode(problem)
    return web.Response(status=problem.status, body=body, content_type=MEDIA_TYPE, headers=headers)


def error_of(code: str, message: str) -> FreshlensError:
    """The error that another process of ours reported by code; an unknown code is the root class."""
    found = _BY_CODE.get(code)
    return found(message, code=code) if found else FreshlensError(f"{code}: {message}")


def error_classes(root: type[FreshlensError] = FreshlensError) -> Iterator[type[FreshlensError]]:
    """The root and every class below it in our tree; what a program on top derives for itself is its own."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from error_classes(child)


def title_of(kind: type[FreshlensError]) -> str:
    """What the class means, in one sentence: the first line of its docstring."""
    return (kind.__doc__ or kind.__name__).strip().splitlines()[0].rstrip(".")


def _problem(code: str, title: str, status: int, detail: str, items: Any = None) -> Problem:
    return Problem(f"/docs#{code}", title, status, code, detail, items)


def _by_code() -> dict[str, type[FreshlensError]]:
    # Roots first and classes of transient errors last: where two share a code, trying again is the safer reading.
    found: dict[str, type[FreshlensError]] = {}
    for root in (FreshlensError, errors.InvalidRecord, errors.QueryError, errors.TransientError):
        for kind in error_classes(root):
            for code in (kind.code, *kind.codes):
                if root is not FreshlensError or code not in found:
                    found[code] = kind
    return found


_BY_CODE = _by_code()
