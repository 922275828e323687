"""The API process: what ``freshlens serve api`` runs."""

import asyncio
import signal
from collections.abc import Callable, Coroutine

import structlog
import uvloop
from aiohttp import web

from query_api.app import create_app
from query_api.parts import open_parts
from query_api.settings import ApiSettings
from schemas.errors import SettingsError
from schemas.metrics import Metrics

log = structlog.get_logger()

_DRAIN_S = 3.0


def run(
    settings: ApiSettings,
    metrics: Metrics,
    on_ready: Callable[[], None],
    render_metrics: Callable[[], bytes] = bytes,
) -> None:
    """Serve until SIGTERM or SIGINT; then finish the requests in hand, send the feedback, and return.

    Args:
        on_ready: called once, when requests are accepted; whether searches can be answered is what /readyz says.
        render_metrics: the text of ``/metrics``.

    Raises:
        SettingsError: ``port-in-use``, or topics that do not exist.
    """
    uvloop.run(until_stopped(_serve(settings, metrics, on_ready, render_metrics)))


async def _serve(
    settings: ApiSettings, metrics: Metrics, on_ready: Callable[[], None], render_metrics: Callable[[], bytes]
) -> None:
    async with open_parts(settings, metrics, render_metrics) as parts:
        runner = web.AppRunner(create_app(settings, parts), access_log=None, shutdown_timeout=_DRAIN_S)
        await serve_app(runner, settings.host, settings.port, on_ready)


async def serve_app(runner: web.AppRunner, host: str, port: int, on_ready: Callable[[], None]) -> None:
    """Serve until cancelled, then drain.

    Raises:
        SettingsError: ``port-in-use``.
    """
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another port, or 0 for any free one",
                code="port-in-use",
            ) from error
        log.info("listening", addresses=[str(address) for address in runner.addresses])
        on_ready()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def until_stopped(work: Coroutine[None, None, None]) -> None:
    """Run until the work ends, or SIGTERM or SIGINT cancels it."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        log.info("stopped")
