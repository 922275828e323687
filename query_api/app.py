"""The application: routes over parts, and what surrounds every request."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from query_api import following, problems
from query_api.access import security
from query_api.access.api_keys import SCOPES
from query_api.access.guard import check_local, guarded
from query_api.access.keys import CLOSING, IN_HAND, KEY_LIMITS, PARTS, SEARCHER, STARTED_AT
from query_api.access.limits import InHand, KeyLimits
from query_api.events import STREAMS, end_streams
from query_api.pages import add_pages
from query_api.parts import Parts
from query_api.routes.table import ROUTES
from query_api.settings import ApiSettings
from schemas.errors import FreshlensError, RateLimited

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(settings: ApiSettings, parts: Parts) -> web.Application:
    """The application over parts that are open already; who opened them closes them."""
    app = web.Application(middlewares=[surroundings(parts)], client_max_size=settings.limits.body_bytes_max)
    app[PARTS] = parts
    app[SEARCHER] = parts.searcher()
    app[CLOSING] = asyncio.Event()
    app[STREAMS] = set()
    app[STARTED_AT] = parts.clock.monotonic()
    app[KEY_LIMITS] = KeyLimits()
    app[IN_HAND] = {scope: InHand(settings.limits.requests_max) for scope in SCOPES}
    for route in ROUTES:
        app.router.add_route(route.method, _any_text(route.path), guarded(route, app))
    add_pages(app)
    app.cleanup_ctx.append(_following)
    app.on_response_prepare.append(security.Secured(settings.cors_origins))
    app.on_shutdown.append(end_streams)
    return app


def surroundings(parts: Parts) -> Middleware:
    """Access, problems, metrics and one log line per fault, the same for every route."""

    @web.middleware
    async def surround(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = parts.clock.monotonic()
        response = await _answered(request, handler, parts)
        route = _route_name(request)
        parts.metrics.count("freshlens_requests_total", route=route, status=str(response.status))
        parts.metrics.observe("freshlens_request_seconds", parts.clock.monotonic() - started, route=route)
        return response

    return surround


async def _answered(request: web.Request, handler: Handler, parts: Parts) -> web.StreamResponse:
    try:
        check_local(request, parts)
        if security.is_preflight(request, parts.settings.cors_origins):
            return security.preflight()
        return await handler(request)
    except FreshlensError as error:
        problem = problems.problem_of(error)
        if problem.status == 500:
            log.exception("request failed", path=request.path, code=error.code)
        retry_after_s = error.retry_after_s if isinstance(error, RateLimited) else None
        return problems.response(problem, retry_after_s=retry_after_s)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return problems.response(problems.of_http(error))
    except Exception:
        log.exception("request failed", path=request.path, code="internal")
        return problems.response(problems.internal())


async def _following(app: web.Application) -> AsyncIterator[None]:
    """Keys and rules, read again every few seconds."""
    parts = app[PARTS]
    tasks = [
        asyncio.create_task(following.follow("keys", parts.keys.refresh, parts.settings.keys_poll_s)),
        asyncio.create_task(following.follow("rules", parts.rules.refresh, parts.settings.rank.rules_poll_s)),
    ]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _any_text(path: str) -> str:
    """The path with parameters that take everything but a slash; by default aiohttp refuses braces in them."""
    return re.sub(r"{(\w+)}", r"{\1:[^/]+}", path)


def _route_name(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
