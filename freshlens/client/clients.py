"""The two clients: one way to send a call, awaited by ``AsyncClient`` and waited for by ``Client``."""

import asyncio
import concurrent.futures
import functools
import inspect
import os
import threading
from collections.abc import Callable, Coroutine
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast, get_args

import aiohttp
import msgspec
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from freshlens.client import calls
from freshlens.client.calls import Call
from freshlens.client.errors import ApiError, refusal, unreadable

P = ParamSpec("P")
T = TypeVar("T")

_COME_AGAIN = (429, 503)
_BACKOFF = wait_random_exponential(multiplier=0.2, max=5)
"""Up to 0.2 s before the second attempt, then up to twice as long each time: many clients must not come at once."""


@dataclass(eq=False)
class Endpoint:
    """One query API, asked for one tenant; connections are kept open between calls.

    Attributes:
        url: where the API is.
        tenant: whose products; a key of one tenant needs none.
        api_key: by default the environment's FRESHLENS_API_KEY.
        timeout_s: for a call in all, whatever is tried again within it.
        retries: how often a call is sent again after 429 and 503, when ``Retry-After`` allows, and, where twice is as
            good as once, after a broken connection.

    Every call raises ApiError, and so does the construction with a key that cannot be one.
    """

    url: str = "http://127.0.0.1:8080"
    _: KW_ONLY
    tenant: str = "default"
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 60.0
    retries: int = 2

    def __post_init__(self) -> None:
        key = self.api_key or os.environ.get("FRESHLENS_API_KEY") or ""
        if not (key.isascii() and key.isprintable()):
            # Whatever breaks a header's line must not reach it.
            said = "the API key has a line break or another character that no key has; set FRESHLENS_API_KEY anew"
            raise ApiError(said, code="unauthorized")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._session: aiohttp.ClientSession | None = None

    async def _answer(self, call: Call[T]) -> T:
        attempts = AsyncRetrying(
            retry=retry_if_exception(functools.partial(_may_pass, call)),
            stop=stop_after_attempt(1 + self.retries) | stop_before_delay(self.timeout_s),
            wait=_wait_s,
            reraise=True,
        )
        try:
            async with asyncio.timeout(self.timeout_s):
                return cast("T", await attempts(self._attempt, call))
        except TimeoutError:
            said = f"{self.url} did not answer within {self.timeout_s:g} s"
            raise ApiError(said, code="deadline-exceeded") from None

    async def _attempt(self, call: Call[T]) -> T:
        if self._session is None:  # here, since it belongs to the loop that runs now
            self._session = aiohttp.ClientSession(headers=self._headers, timeout=aiohttp.ClientTimeout(total=None))
            self._session._retry_connection = False  # it would repeat every DELETE, without asking whether that may be
        tenant = {} if self.tenant == "default" else {"tenant": self.tenant}
        try:
            async with self._session.request(
                call.method,
                self.url.rstrip("/") + call.path,
                params={**call.query, **tenant},
                data=None if call.body is None else msgspec.json.encode(call.body),
                headers={} if call.body is None else {"Content-Type": "application/json"},
                allow_redirects=False,
            ) as response:
                raw = await response.read()
        except aiohttp.ClientResponseError as error:
            raise unreadable(error.status, b"", error.message) from error
        except aiohttp.ClientError as error:
            raise ApiError(f"{self.url} does not answer: {error or type(error).__name__}") from error
        if not 200 <= response.status < 300:
            raise refusal(response.status, raw, response.headers.get("Retry-After"))
        return _decoded(call, response.status, raw)

    async def _close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _may_pass(call: Call[Any], error: BaseException) -> bool:
    if not isinstance(error, ApiError):
        return False
    return error.status in _COME_AGAIN or (error.code == ApiError.code and call.is_repeatable)


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_s if isinstance(error, ApiError) else None
    return (asked or 0.0) + _BACKOFF(state)


def _decoded(call: Call[T], status: int, raw: bytes) -> T:
    if call.answer is bytes:
        return cast("T", raw)
    try:
        return msgspec.json.decode(raw, type=call.answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise unreadable(status, raw, str(error)) from None


def _awaited(build: Callable[P, Call[T]]) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]:
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.send(build(*args, **kwargs))

    return _named(method, build)


def _blocking(build: Callable[P, Call[T]]) -> Callable[Concatenate["Client", P], T]:
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(build(*args, **kwargs))

    return _named(method, build)


M = TypeVar("M", bound=Callable[..., Any])


def _named(method: M, build: Callable[..., Any]) -> M:
    """The method with what ``help`` shows of it: name, text and signature of what it is built from, after self."""
    functools.update_wrapper(method, build)
    built = inspect.signature(build)
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__signature__ = built.replace(  # type: ignore[attr-defined]
        parameters=[me, *built.parameters.values()], return_annotation=get_args(built.return_annotation)[0]
    )
    return method


class AsyncClient(Endpoint):
    """The client for asyncio: ``async with AsyncClient(url) as client``, with the options of :class:`Endpoint`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._close()

    async def send(self, call: Call[T]) -> T:
        """The answer to a call of :mod:`freshlens.client.calls`."""
        return await self._answer(call)

    search = _awaited(calls.search)
    search_batch = _awaited(calls.search_batch)
    similar = _awaited(calls.similar)
    regions = _awaited(calls.regions)
    explain = _awaited(calls.explain)
    why_not = _awaited(calls.why_not)
    feedback = _awaited(calls.feedback)
    publish = _awaited(calls.publish)
    delete = _awaited(calls.delete)
    product = _awaited(calls.product)
    products = _awaited(calls.products)
    lookup = _awaited(calls.lookup)
    thumbnail = _awaited(calls.thumbnail)
    status = _awaited(calls.status)
    search_quality = _awaited(calls.search_quality)


class Client(Endpoint):
    """The client that waits: ``with Client(url) as client``, with the options of :class:`Endpoint`.

    It may be shared by threads, and used where a loop runs already, as in a notebook.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        # In a thread of its own a loop is in nobody's way, and keeps its connections from call to call.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="freshlens-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; no call may follow, and those of other threads end with ApiError."""
        if not self._loop.is_closed():
            self._wait(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def send(self, call: Call[T]) -> T:
        """The answer to a call of :mod:`freshlens.client.calls`."""
        return self._wait(self._answer(call))

    async def _close(self) -> None:
        calls = asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await super()._close()

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ApiError("the client was closed during the call", code="client-closed") from None
        finally:
            future.cancel()  # where the wait was interrupted by Ctrl-C; else it is done

    search = _blocking(calls.search)
    search_batch = _blocking(calls.search_batch)
    similar = _blocking(calls.similar)
    regions = _blocking(calls.regions)
    explain = _blocking(calls.explain)
    why_not = _blocking(calls.why_not)
    feedback = _blocking(calls.feedback)
    publish = _blocking(calls.publish)
    delete = _blocking(calls.delete)
    product = _blocking(calls.product)
    products = _blocking(calls.products)
    lookup = _blocking(calls.lookup)
    thumbnail = _blocking(calls.thumbnail)
    status = _blocking(calls.status)
    search_quality = _blocking(calls.search_quality)
