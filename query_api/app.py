"""The application: routes over parts, and what surrounds every request."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from query_api import problems
from query_api.events import STREAMS, end_streams
from query_api.identity import check_access
from query_api.keys import CLOSING, PARTS, SEARCHER, STARTED_AT
from query_api.pages import add_pages
from query_api.parts import Parts
from query_api.route_table import ROUTES
from query_api.settings import ApiSettings
from schemas.errors import FreshlensError

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def create_app(settings: ApiSettings, parts: Parts) -> web.Application:
    """The application over parts that are open already; who opened them closes them."""
    app = web.Application(middlewares=[surroundings], client_max_size=settings.limits.body_bytes_max)
    app[PARTS] = parts
    app[SEARCHER] = parts.searcher()
    app[CLOSING] = asyncio.Event()
    app[STREAMS] = set()
    app[STARTED_AT] = parts.clock.monotonic()
    for route in ROUTES:
        app.router.add_route(route.method, route.path, route.handler)
    add_pages(app)
    app.on_response_prepare.append(_secured)
    app.on_shutdown.append(end_streams)
    return app


@web.middleware
async def surroundings(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Access, problems, metrics and one log line per fault, the same for every route."""
    parts = request.app[PARTS]
    started = parts.clock.monotonic()
    response = await _answered(request, handler, parts.settings.host)
    route = _route_name(request)
    parts.metrics.count("freshlens_requests_total", route=route, status=str(response.status))
    parts.metrics.observe("freshlens_request_seconds", parts.clock.monotonic() - started, route=route)
    return response


async def _answered(request: web.Request, handler: Handler, host: str) -> web.StreamResponse:
    try:
        check_access(request, host)
        return await handler(request)
    except FreshlensError as error:
        problem = problems.problem_of(error)
        if problem.status == 500:
            log.exception("request failed", path=request.path, code=error.code)
        return problems.response(problem)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return problems.response(problems.of_http(error))
    except Exception:
        log.exception("request failed", path=request.path, code="internal")
        return problems.response(problems.internal())


async def _secured(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)


def _route_name(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
