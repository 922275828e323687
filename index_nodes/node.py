"""The index node: one process that follows the log of one replica of one shard and answers searches over it."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
import uvloop
from aiohttp import web

from index_nodes.replicas.follower import Follower
from index_nodes.replicas.log import KafkaLog
from index_nodes.replicas.memory import give_back_large_blocks
from index_nodes.server import create_app
from index_nodes.settings import NodeSettings
from index_nodes.shard import LocalShard
from index_nodes.status import Reporter
from schemas.clock import SystemClock
from schemas.errors import SettingsError
from schemas.metrics import Metrics
from topics.store import open_store

_log = structlog.get_logger()
_DRAIN_S = 2.0
_SWITCH_S = 0.0005
"""How long Python code of one thread may keep the others waiting: the applier is not to hold up a search by 5 ms."""


def run(settings: NodeSettings, metrics: Metrics, on_ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    ``on_ready`` is called once, when everything that was in the log at the start can be found.

    Raises:
        StorageError: another log, a truncated log, a damaged generation; its docstring says what to do.
        SettingsError: the port is taken, or Kafka refuses us.
    """
    prepare_process()
    uvloop.run(_until_signalled(settings, metrics, on_ready))


def prepare_process() -> None:
    """Let no thread's Python code keep the others waiting for long, and no freed block of rows stay with us."""
    sys.setswitchinterval(_SWITCH_S)
    give_back_large_blocks()


async def _until_signalled(settings: NodeSettings, metrics: Metrics, on_ready: Callable[[], None]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await serve(settings, metrics, on_ready, stopping)


async def serve(
    settings: NodeSettings, metrics: Metrics, on_ready: Callable[[], None], stopping: asyncio.Event
) -> None:
    """As :func:`run`, until ``stopping`` is set."""
    async with running(settings, metrics, on_ready, stopping):
        await stopping.wait()


@asynccontextmanager
async def running(
    settings: NodeSettings, metrics: Metrics, on_ready: Callable[[], None], stopping: asyncio.Event
) -> AsyncIterator[LocalShard]:
    """The shard that a node answers from, while the node runs in this process.

    Sets ``stopping`` if it cannot go on; the error is raised when the block is left. Raises as :func:`run`.
    """
    loop = asyncio.get_running_loop()

    def changed() -> None:
        loop.call_soon_threadsafe(on_change)

    follower = Follower(
        settings,
        KafkaLog(settings.kafka),
        open_store(settings.store),
        metrics,
        on_change=changed,
    )
    clock = SystemClock()
    shard = LocalShard(settings, follower, clock, metrics)
    is_told = False

    def on_change() -> None:
        nonlocal is_told
        shard.notify()
        if follower.failure is not None:
            stopping.set()
        elif follower.state.is_ready and not is_told:
            is_told = True
            on_ready()

    runner = web.AppRunner(create_app(shard, follower), access_log=None, shutdown_timeout=_DRAIN_S)
    url = await _listening(runner, settings)
    reporter = Reporter(settings, follower, url, clock, metrics)
    reporting = asyncio.create_task(reporter.run())
    follower.start()
    try:
        yield shard
    finally:
        await _stopped(follower, reporter, reporting, runner, shard)
    if follower.failure is not None:
        raise follower.failure


async def _listening(runner: web.AppRunner, settings: NodeSettings) -> str:
    """Listen, and return the address others reach us at."""
    await runner.setup()
    site = web.TCPSite(runner, settings.host, settings.port, backlog=1024)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise SettingsError(
            f"FRESHLENS_NODE_PORT={settings.port} on {settings.host}: {error.strerror}; choose another port",
            code="port-in-use",
        ) from error
    port = runner.addresses[0][1]
    _log.info("node-listens", host=settings.host, port=port, shard=settings.shard)
    return f"http://{_named(settings.host)}:{port}"


def _named(host: str) -> str:
    """A host in a URL; whoever listens everywhere is told by its own name."""
    if host in ("0.0.0.0", "::"):
        import socket

        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


async def _stopped(
    follower: Follower,
    reporter: Reporter,
    reporting: "asyncio.Task[None]",
    runner: web.AppRunner,
    shard: LocalShard,
) -> None:
    follower.drain()
    reporting.cancel()
    reporter.close()
    await runner.cleanup()
    await asyncio.to_thread(follower.stop)
    shard.close()
    reporter.close()
