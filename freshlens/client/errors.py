"""What a call of the client fails with."""

from typing import Any

import msgspec

from schemas.answers import Problem
from schemas.errors import FreshlensError

_SHOWN_CHARS = 300


class ApiError(FreshlensError):
    """The query API refused, or no answer of it came.

    Attributes:
        code: of the API's problem (docs/errors.md); or of the client itself: ``api-unreachable``,
            ``answer-unreadable``, ``client-closed``, ``deadline-exceeded``, ``unauthorized`` for a key that cannot be
            one.
        status: the HTTP status; None where nothing was answered.
        detail: what happened, and the way out.
        retry_after_s: seconds after which the API asks to come again; None where it does not say.
        items: of a refused list of products: what became of each.
    """

    code = "api-unreachable"
    codes = ("answer-unreadable", "client-closed")

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
        items: Any = None,
    ) -> None:
        super().__init__(detail)
        self.code = code or type(self).code  # that of a newer API need not be known here
        self.status, self.detail, self.retry_after_s, self.items = status, detail, retry_after_s, items


def refusal(status: int, raw: bytes, retry_after: str | None) -> ApiError:
    """The error that an answer other than 2xx stands for; ``retry_after``: its header, of which seconds are read."""
    seconds = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
    try:
        problem = msgspec.json.decode(raw, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return unreadable(status, raw, retry_after_s=seconds)
    return ApiError(problem.detail, code=problem.code, status=status, retry_after_s=seconds, items=problem.items)


def unreadable(status: int, raw: bytes, why: str = "", *, retry_after_s: float | None = None) -> ApiError:
    """The error of an answer that is not what the API says: of a proxy, perhaps, or of another server."""
    shown = raw[:_SHOWN_CHARS].decode(errors="replace").strip()
    detail = f"HTTP {status} with an answer that is not the API's{why and f' ({why})'}: {shown!r}"
    return ApiError(detail, code="answer-unreadable", status=status, retry_after_s=retry_after_s)
