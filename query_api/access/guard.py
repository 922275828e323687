"""What every declared route stands behind: key, tenant, scope, limits, and the record of what was changed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from query_api.access.api_keys import ApiKey
from query_api.access.identity import caller_of, check_access, check_may, key_caller, local_caller, remember
from query_api.access.keys import IN_HAND, KEY_LIMITS, PARTS
from query_api.access.limits import KeyLimits
from query_api.parts import Parts
from query_api.query.request import NoParameters, convert_parameters
from schemas.clock import Clock
from schemas.errors import InvalidQuery

if TYPE_CHECKING:
    from query_api.routes.table import Route

log = structlog.get_logger()

BODY_TIMEOUT_S = 60.0
"""A body that takes longer to arrive is given up: whoever sends it byte by byte must not keep others out."""

_HUNG_UP = 499
"""In the record of changes: who asked did not wait for the answer, and nobody knows here what came of it."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guarded(route: "Route", app: web.Application) -> Handler:
    """The route's handler behind its guard; a route without a scope is open to everybody."""
    if route.scope is None:
        return route.handler
    # What a request would have to ask its application for each time.
    parts, in_hand, limits = app[PARTS], app[IN_HAND][route.scope], app[KEY_LIMITS]

    async def handle(request: web.Request) -> web.StreamResponse:
        key = admit(request, route, parts)
        if route.parameters is None:
            convert_parameters(request.query, NoParameters)
        if route.is_stream:  # it stays for hours, and has a limit of its own
            _count(key, limits, parts.clock)
            return await route.handler(request)
        with in_hand:
            _count(key, limits, parts.clock)
            await _receive(request)
            try:
                response = await route.handler(request)
            except asyncio.CancelledError:
                _record(request, route, _HUNG_UP)  # what was sent to Kafka is there all the same
                raise
        _record(request, route, response.status)
        return response

    return handle


def admit(request: web.Request, route: "Route", parts: Parts) -> ApiKey | None:
    """Find out who asks, and let them in or not: with which key, or None while there are no keys.

    Raises:
        Unauthorized, TenantRefused, ScopeMissing; InvalidProduct: ``invalid-tenant``.
    """
    assert route.scope is not None
    asked = request.query.get("tenant")
    if parts.keys.is_empty:
        remember(request, local_caller(asked))
        return None
    key = parts.keys.authenticated(request.headers.get("Authorization"), parts.clock.now_us())
    caller = key_caller(key, asked)
    check_may(caller, route.scope, of_all_tenants=route.is_of_all_tenants)
    remember(request, caller)
    return key


def check_local(request: web.Request, parts: Parts) -> None:
    """While no key exists, only this machine is served, whatever the path; raises HostRefused."""
    if parts.keys.is_empty:
        check_access(request, parts.settings.host, parts.settings.cors_origins)


def _count(key: ApiKey | None, limits: KeyLimits, clock: Clock) -> None:
    """Against the key's own limits, after every other reason to refuse it; raises RateLimited, QuotaUsed."""
    if key is not None:
        limits.take(key, now_s=clock.monotonic(), now_us=clock.now_us())


async def _receive(request: web.Request) -> None:
    """Have the whole body here; the handler reads it from memory."""
    if not request.can_read_body:
        return
    try:
        if request.content.is_eof():  # it came with the headers
            await request.read()
            return
        async with asyncio.timeout(BODY_TIMEOUT_S):
            await request.read()
    except web.RequestPayloadError as error:
        raise InvalidQuery(f"the body cannot be read: {str(error)[:200]}") from None
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from None


def _record(request: web.Request, route: "Route", status: int) -> None:
    """What an admin changed; what a catalogue's own key publishes is data, and on record in Kafka."""
    if route.scope != "publish":
        return
    caller = caller_of(request)
    if caller.key_id is None or "admin" not in caller.scopes:
        return
    log.info(
        "audit",
        action=f"{request.method} {request.match_info.route.resource.canonical}",  # type: ignore[union-attr]
        key=caller.key_id,
        tenant=caller.tenant,
        object=request.match_info.get("product_id"),
        status=status,
    )
