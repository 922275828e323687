"""What is kept in the application, each under a typed key, and how a route reads and writes JSON."""

import asyncio
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from query_api.access.api_keys import Scope
from query_api.access.limits import InHand, KeyLimits
from query_api.parts import Parts
from query_api.query.request import decode_body
from query_api.search.pipeline import Searcher
from schemas.errors import UnsupportedMediaType

PARTS = web.AppKey("parts", Parts)
SEARCHER = web.AppKey("searcher", Searcher)
CLOSING = web.AppKey("closing", asyncio.Event)
STARTED_AT = web.AppKey("started_at", float)
KEY_LIMITS = web.AppKey("key_limits", KeyLimits)
IN_HAND = web.AppKey("in_hand", dict[Scope, InHand])

S = TypeVar("S", bound=msgspec.Struct)

_json = msgspec.json.Encoder()


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(body=_json.encode(body), status=status, content_type="application/json", headers=headers)


async def read_json(request: web.Request, decoder: msgspec.json.Decoder[S]) -> S:
    """The JSON body of a request; raises UnsupportedMediaType, and as :func:`decode_body`."""
    return decode_body(await json_bytes(request), decoder)


async def json_bytes(request: web.Request) -> bytes:
    """The body of a request that must say that it is JSON: pages of other origins cannot say so unasked.

    Raises:
        UnsupportedMediaType: it says something else.
    """
    if request.content_type != "application/json":
        raise UnsupportedMediaType(f"send Content-Type: application/json; this is {request.content_type[:100]!r}")
    return await request.read()
