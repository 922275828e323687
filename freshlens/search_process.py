"""An index node and the query API in one process: a search asks its own shard without leaving the event loop."""

import asyncio
from collections.abc import Callable

import uvloop

from index_nodes import node
from index_nodes.settings import NodeSettings
from query_api import serve as api
from query_api.serving import until_stopped
from query_api.settings import ApiSettings
from query_api.shards.scatter import InProcess
from schemas.metrics import Metrics


def run(
    node_settings: NodeSettings,
    api_settings: ApiSettings,
    metrics: Metrics,
    on_ready: Callable[[], None],
    render_metrics: Callable[[], bytes],
) -> None:
    """Serve until SIGTERM or SIGINT.

    ``on_ready`` is called once, when requests are accepted and everything that was in the log at the start is found.

    Raises:
        SettingsError, StorageError: as :func:`index_nodes.node.run` and :func:`query_api.serve.run`.
    """
    node.prepare_process()
    uvloop.run(until_stopped(_serve(node_settings, api_settings, metrics, _Last(2, on_ready), render_metrics)))


async def _serve(
    node_settings: NodeSettings,
    api_settings: ApiSettings,
    metrics: Metrics,
    on_ready: Callable[[], None],
    render_metrics: Callable[[], bytes],
) -> None:
    node_failed = asyncio.Event()
    async with node.running(node_settings, metrics, on_ready, node_failed) as shard:
        local = InProcess(node_settings.shard, shard, lambda: shard.answers, node_settings.node_id)
        serving = asyncio.ensure_future(api.serve(api_settings, metrics, on_ready, render_metrics, local))
        failing = asyncio.ensure_future(node_failed.wait())
        try:
            await asyncio.wait({serving, failing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            failing.cancel()
            serving.cancel()
            await asyncio.wait({serving})  # requests in hand are answered while the node is still there
        if not serving.cancelled():
            serving.result()


class _Last:
    """Calls on when it has been called so many times."""

    def __init__(self, times: int, then: Callable[[], None]) -> None:
        self._left, self._then = times, then

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._then()
