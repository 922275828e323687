"""Starts processes, watches them, restarts what ends, and stops them in order.

A child says ``ready`` on its stdout once it works; everything else it says goes to its log file. Each child holds
the read end of a pipe as its stdin, so that it ends with its parent even if the parent is killed.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import ParamSpec

from freshlens.broker import open_log
from schemas.errors import FreshlensError

STOP_TIMEOUT_S = 12.0
BACKOFF_MIN_S = 0.25
BACKOFF_MAX_S = 10.0
STEADY_S = 30.0
"""After this long a process counts as well again, and its next restart is quick."""

Tell = Callable[[str], None]
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: ``ready`` waits until it works, given a call that says whether it still lives."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    log_path: Path
    ready: Callable[[Callable[[], bool]], Awaitable[None]] | None = None
    """None: the program prints ``ready`` itself."""
    descriptors: Sequence[int] = ()
    """Of open files that it inherits."""


@dataclass(slots=True)
class Child:
    """One program under supervision."""

    program: Program
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    stopping: bool = False

    @property
    def pid(self) -> int:
        """The process id, 0 while it is down."""
        return self.process.pid if self.process is not None and self.process.returncode is None else 0


def backoff_s(failures: int) -> float:
    """How long to wait before the next start, after this many quick failures in a row (from 1)."""
    return min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** (failures - 1))


def unfailing(call: Callable[P, None]) -> Callable[P, None]:
    """The same, but where the disk is full or the terminal gone: no process may stay down for that."""

    def called(*arguments: P.args, **named: P.kwargs) -> None:
        with contextlib.suppress(OSError):
            call(*arguments, **named)

    return called


class Supervisor:
    """Keeps a set of programs running until :meth:`stop`.

    ``tell`` gets one line for the person at the terminal whenever a process ends or is back; ``changed`` is called
    when process ids change. Whether these can write changes nothing for the programs.
    """

    def __init__(self, tell: Tell, changed: Callable[[], None] = lambda: None) -> None:
        self._tell = unfailing(tell)
        self._changed = unfailing(changed)
        self._children: dict[str, Child] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def pids(self) -> dict[str, int]:
        return {name: child.pid for name, child in self._children.items()}

    @property
    def not_ready(self) -> list[str]:
        return [name for name, child in self._children.items() if not child.is_ready.is_set()]

    def start(self, program: Program) -> Child:
        """Begin to keep a program running; wait for ``child.is_ready``."""
        assert program.name not in self._children, program.name
        child = Child(program)
        self._children[program.name] = child
        self._tasks[program.name] = asyncio.create_task(self._keep(child), name=program.name)
        return child

    async def stop(self, *names: str) -> None:
        """Stop these programs together: SIGTERM, then SIGKILL after a grace time."""
        await asyncio.gather(*(self._stop(name) for name in names if name in self._children))

    async def _stop(self, name: str) -> None:
        child = self._children[name]
        child.stopping = True
        if child.process is not None and child.pid:
            child.process.terminate()
            try:
                await asyncio.wait_for(child.process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                self._tell(f"{name} did not stop within {STOP_TIMEOUT_S:.0f} s and was killed")
                child.process.kill()
                await child.process.wait()
        self._tasks[name].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._tasks[name]

    async def _keep(self, child: Child) -> None:
        failures = 0
        while not child.stopping:
            began = monotonic()
            try:
                manner = _manner(await self._run_once(child))
            except OSError as error:  # no memory or process to be had, or no room for its log
                manner = f"not started: {error.strerror}"
            self._changed()
            if child.stopping:
                return
            failures = 1 if monotonic() - began > STEADY_S else failures + 1
            pause = backoff_s(failures)
            self._tell(f"{child.program.name} ended ({manner}), starting it again in {pause:.2g} s; see "
                       f"{child.program.log_path}")  # fmt: skip
            await asyncio.sleep(pause)
            child.restarts += 1

    async def _run_once(self, child: Child) -> int:
        child.is_ready.clear()
        with open_log(child.program.log_path) as log:
            child.process = await asyncio.create_subprocess_exec(
                *child.program.command,
                env=dict(child.program.environ),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                pass_fds=child.program.descriptors,
                # Ctrl-C in the terminal is for the supervisor, which stops in order. Not a session: where Linux groups
                # processes by session, a niceness counts within one only.
                process_group=0,
            )
        self._changed()
        watch = asyncio.create_task(self._watch_ready(child))
        try:
            return await child.process.wait()
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch

    async def _watch_ready(self, child: Child) -> None:
        process = child.process
        assert process is not None
        assert process.stdout is not None
        if child.program.ready is not None:
            try:
                await child.program.ready(lambda: process.returncode is None)
            except FreshlensError as error:
                self._tell(f"{child.program.name}: {error.code}: {error}")
                return
            self._is_ready(child)
        while line := await process.stdout.readline():
            if line.strip() == b"ready":
                self._is_ready(child)

    def _is_ready(self, child: Child) -> None:
        child.is_ready.set()
        self._changed()
        if child.restarts:
            self._tell(f"{child.program.name} is back")


def _manner(code: int) -> str:
    if code >= 0:
        return f"exit {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
