"""Headers that protect whoever reads an answer in a browser, and the pages of other origins that may read it."""

from collections.abc import Sequence

from aiohttp import hdrs, web

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PREFLIGHT = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST, DELETE",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "Authorization, Content-Type, If-None-Match",
    hdrs.ACCESS_CONTROL_MAX_AGE: "600",
}


class Secured:
    """Puts the headers on every answer, problems and streams included; a signal for ``on_response_prepare``.

    Args:
        origins: those whose pages may read answers, exactly as browsers send them. Keys travel in a header, so
            credentials that a browser adds by itself are never allowed.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)

    async def __call__(self, request: web.Request, response: web.StreamResponse) -> None:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers[hdrs.SERVER] = "freshlens"  # and not which library of which version
        if not self._origins:
            return
        # Whatever is kept on the way must not give one origin's answer to another.
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if (origin := request.headers.get(hdrs.ORIGIN)) in self._origins and origin is not None:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = "Retry-After, ETag"


def is_preflight(request: web.Request, origins: Sequence[str]) -> bool:
    """Whether a browser asks, for a page that may, whether it may send what comes next."""
    return (
        request.method == hdrs.METH_OPTIONS
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        and request.headers.get(hdrs.ORIGIN) in origins
    )


def preflight() -> web.Response:
    """What may be sent. The request itself is checked when it comes."""
    return web.Response(status=204, headers=_PREFLIGHT)
