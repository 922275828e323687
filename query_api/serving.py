"""Running an HTTP application until it is told to stop; the same for the API and the encoder."""

import asyncio
import signal
from collections.abc import Callable, Coroutine

import structlog
from aiohttp import web

from query_api.accepting import SharedSite
from schemas.errors import SettingsError

_DRAIN_S = 3.0
log = structlog.get_logger()


def runner_of(app: web.Application) -> web.AppRunner:
    """Serves the application; the work of callers who have left is dropped, or a rush would outlast its cause."""
    return web.AppRunner(app, access_log=None, shutdown_timeout=_DRAIN_S, handler_cancellation=True)


async def serve_app(
    runner: web.AppRunner, host: str, port: int, on_ready: Callable[[], None], *, inherited: int | None = None
) -> None:
    """Serve until cancelled, then drain.

    ``inherited``: the file descriptor of a socket that listens already, here and in other processes; None: our own.

    Raises:
        SettingsError: ``port-in-use``.
    """
    await runner.setup()
    try:
        try:
            site = web.TCPSite(runner, host, port) if inherited is None else SharedSite(runner, inherited)
            await site.start()
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another port, or 0 for any free one",
                code="port-in-use",
            ) from error
        log.info("listening", address=site.name)
        on_ready()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def until_stopped(work: Coroutine[None, None, None]) -> None:
    """Run until the work ends, or SIGTERM or SIGINT cancels it."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        # Once: a terminal and a supervisor may both signal, and the second must not cut the clean stop short.
        if not task.cancelling():
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        log.info("stopped")
