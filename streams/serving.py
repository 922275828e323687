"""The life of a worker process: start, say so, work until a signal, stop cleanly."""

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import structlog

from schemas.errors import BrokerUnavailable, SettingsError
from streams.app import WorkerApp
from topics import administration, clients
from topics.settings import KafkaSettings

STOP_TIMEOUT_S = 5.0
PATIENCE_S = 30.0
"""How long a worker waits at its start for the broker and for its topics."""
LOOK_EVERY_S = 0.2
_log = structlog.get_logger()


def check_topics(kafka: KafkaSettings, names: list[str], *, patience_s: float = PATIENCE_S) -> None:
    """Return once all these topics (logical names) exist: Faust would wait for a missing one for ever, in silence.

    Whoever creates them may start at the same moment as we do, so both it and the broker are waited for.

    Raises:
        SettingsError: naming those that still do not exist. BrokerUnavailable.
    """
    wanted, admin = [kafka.topic(name) for name in names], clients.admin(kafka)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            missing = sorted(set(wanted) - administration.existing_topics(admin, wanted).keys())
            if not missing:
                return
        except BrokerUnavailable:
            if time.monotonic() >= deadline:
                raise
        if time.monotonic() >= deadline:
            raise SettingsError([f"there is no topic {name}: run `freshlens topics create`" for name in missing])
        time.sleep(LOOK_EVERY_S)


async def serve(app: WorkerApp, on_ready: Callable[[], None]) -> None:
    """Run the app until SIGTERM or SIGINT, then stop it; what is not finished is delivered again at the next start.

    Where it is cancelled it stops the app as well: Faust's own thread would keep the process, and its partitions.

    ``on_ready`` is called once, when the first records can be delivered.

    Raises:
        BrokerUnavailable: Faust gave up, as it does when the group or the broker is lost for long. Start again.
    """
    loop = asyncio.get_running_loop()
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    app.finalize()
    starting = asyncio.ensure_future(app.start())
    life = asyncio.ensure_future(_life(app, starting, on_ready))
    stopping = asyncio.ensure_future(asked_to_stop.wait())
    try:
        await asyncio.wait({life, stopping}, return_when=asyncio.FIRST_COMPLETED)
        crashed = life.done() and not asked_to_stop.is_set()
        reason = app.crash_reason or (life.exception() if life.done() else None)
    finally:
        await _stop(app, life, stopping, starting)
    if crashed:
        raise BrokerUnavailable(f"the worker crashed: {reason!r}") from reason


async def _life(app: WorkerApp, starting: "asyncio.Future[None]", on_ready: Callable[[], None]) -> None:
    await starting
    receiving = asyncio.ensure_future(app.receiving.wait())
    ended = asyncio.ensure_future(app.wait_until_stopped())
    await asyncio.wait({receiving, ended}, return_when=asyncio.FIRST_COMPLETED)
    if receiving.done():
        on_ready()
    await ended


async def _stop(app: WorkerApp, *futures: "asyncio.Future[Any]") -> None:
    try:
        await asyncio.wait_for(app.stop(), STOP_TIMEOUT_S)
    except TimeoutError:
        # A worker that is joining its group does not stop; nothing finished is lost by leaving.
        _log.warning("the worker did not stop in time; leaving", timeout_s=STOP_TIMEOUT_S)
    for future in futures:
        future.cancel()
    await asyncio.gather(*futures, return_exceptions=True)
