"""The API process: what ``freshlens serve api`` runs."""

from collections.abc import Callable

import uvloop

from query_api.app import create_app
from query_api.parts import open_parts
from query_api.serving import runner_of, serve_app, until_stopped
from query_api.settings import ApiSettings
from query_api.shards.scatter import InProcess
from schemas.metrics import Metrics


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
    uvloop.run(until_stopped(serve(settings, metrics, on_ready, render_metrics)))


async def serve(
    settings: ApiSettings,
    metrics: Metrics,
    on_ready: Callable[[], None],
    render_metrics: Callable[[], bytes],
    local: InProcess | None = None,
) -> None:
    """As :func:`run`, until cancelled; ``local`` is a shard served by this process, which is asked without a hop."""
    async with open_parts(settings, metrics, render_metrics, local) as parts:
        runner = runner_of(create_app(settings, parts))
        await serve_app(runner, settings.host, settings.port, on_ready, inherited=settings.listening_fd)
