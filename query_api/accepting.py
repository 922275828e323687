"""Taking connections from a socket that other processes take from, too: whoever has fewer is quicker.

A socket of each process's own on the same port (SO_REUSEPORT) would spread connections by chance. A shop's few
connections stay open for long, and often all of them would be one process's, while the others are idle.
"""

import asyncio
import os
import socket
from typing import cast

import structlog
from aiohttp import web

_PAUSE_S, _PAUSES_MAX = 0.001, 4
"""Who has connections leaves a new one to the others for so long for each of them. Of many, chance spreads as well."""
_TAKEN_SHARE = 16
"""Taken at a time: one, and one more for so many that are there, or many connections would come slowly."""
_EXHAUSTED_PAUSE_S = 1.0
"""Where there are no file descriptors left for one more: some connections may end meanwhile."""
log = structlog.get_logger()


class SharedSite(web.BaseSite):
    """Serves a listening socket that was inherited under a file descriptor; other processes hold it as well."""

    def __init__(self, runner: web.AppRunner, descriptor: int) -> None:
        super().__init__(runner)
        self._protocols = cast(web.Server, runner.server)
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._taking: set[asyncio.Task[object]] = set()

    @property
    def name(self) -> str:
        """As the other sites of aiohttp say it."""
        host, port = self._socket.getsockname()[:2]
        return f"http://{host}:{port}"

    async def start(self) -> None:
        """Begin to take connections."""
        await super().start()
        self._loop.add_reader(self._socket, self._somebody_waits)

    async def stop(self) -> None:
        """Take no more; those that are there stay."""
        self._loop.remove_reader(self._socket)
        if self._pause is not None:
            self._pause.cancel()
        self._socket.close()
        await super().stop()

    @property
    def _open(self) -> int:
        return len(self._protocols.connections) + len(self._taking)

    def _somebody_waits(self) -> None:
        if pauses := min(self._open, _PAUSES_MAX):
            self._rest(pauses * _PAUSE_S)
        else:
            self._take()

    def _rest(self, seconds: float) -> None:
        """Look away, or that somebody waits would be said again at once."""
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(seconds, self._after_pause)

    def _after_pause(self) -> None:
        self._loop.add_reader(self._socket, self._somebody_waits)
        for _ in range(1 + self._open // _TAKEN_SHARE):
            if not self._take():
                return

    def _take(self) -> bool:
        """Take one connection; False where there is none to be had."""
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):  # another process was quicker, or nobody waits any more
            return False
        except OSError as error:
            log.error("a connection cannot be taken", reason=error.strerror)
            self._rest(_EXHAUSTED_PAUSE_S)
            return False
        connection.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocols, connection))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)
        return True
