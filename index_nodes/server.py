"""The shard protocol over HTTP: MessagePack both ways, refusals as ShardProblem."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import structlog
from aiohttp import web

from index_nodes.replicas.follower import Follower
from index_nodes.shard import LocalShard
from schemas.errors import FreshlensError, InvalidQuery, QueryError
from schemas.shard import ShardLookup, ShardProblem, ShardSearch

BODY_BYTES_MAX = 8 << 20

R = TypeVar("R", bound=msgspec.Struct)
_encoder = msgspec.msgpack.Encoder()
_searches = msgspec.msgpack.Decoder(ShardSearch)
_lookups = msgspec.msgpack.Decoder(ShardLookup)
_log = structlog.get_logger()


def create_app(shard: LocalShard, follower: Follower) -> web.Application:
    """The node's routes: /shard/search, /shard/lookup, /healthz, /readyz."""

    async def readyz(_: web.Request) -> web.Response:
        status = 200 if follower.state.is_ready else 503
        return web.json_response({"state": follower.state.value}, status=status)

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"state": follower.state.value})

    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_post("/shard/search", _route(_searches, shard.search))
    app.router.add_post("/shard/lookup", _route(_lookups, shard.lookup))
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/healthz", healthz)
    return app


def _route(
    requests: "msgspec.msgpack.Decoder[R]", answer: Callable[[R], Awaitable[msgspec.Struct]]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(http_request: web.Request) -> web.Response:
        try:
            answered = await answer(_decoded(requests, await http_request.read()))
        except FreshlensError as error:
            return _refusal(error)
        except Exception as error:
            _log.exception("shard-request-failed", path=http_request.path)
            return _refusal(FreshlensError(repr(error)))
        return _msgpack(answered, 200)

    return handler


def _decoded(requests: "msgspec.msgpack.Decoder[R]", body: bytes) -> R:
    try:
        return requests.decode(body)
    except msgspec.DecodeError as error:
        raise InvalidQuery(f"not a request of the shard protocol: {error}") from None


def _refusal(error: FreshlensError) -> web.Response:
    status = error.status if isinstance(error, QueryError) else 503
    return _msgpack(ShardProblem(error.code, error.message), status)


def _msgpack(value: msgspec.Struct, status: int) -> web.Response:
    return web.Response(body=_encoder.encode(value), status=status, content_type="application/msgpack")
