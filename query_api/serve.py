"""The API process: what ``freshlens serve api`` runs."""

from collections.abc import Callable

import uvloop
from aiohttp import web

from query_api.app import create_app
from query_api.parts import open_parts
from query_api.serving import serve_app, until_stopped
from query_api.settings import ApiSettings
from schemas.metrics import Metrics

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
