"""A running Freshlens, as a person would start it: the real command, the real broker, in a directory of its own."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from freshlens import run_file
from freshlens.client import AsyncClient
from freshlens.run_file import RunFile

READY_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0


class Running:
    """``freshlens up --no-demo`` as a child process, until the end of the ``with`` block.

    ``url`` and ``kafka`` are what it printed; ``said`` is every line so far.
    """

    def __init__(self, data: Path, **environ: str) -> None:
        self.data = data
        self.said: list[str] = []
        self._environ = {**os.environ, **environ}
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()

    def start(self) -> None:
        """Start it and wait until it says ``ready``."""
        self.said, self._lines = [], queue.Queue()
        self._process = subprocess.Popen(
            [*self.command("up"), "--port", "0", "--kafka-port", "0", "--no-demo"],
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        try:
            self.wait_for("ready")
        except AssertionError:
            self.kill()
            raise

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Ctrl-C, or another signal that stops it, and its exit code."""
        assert self._process is not None
        self._process.send_signal(how)
        code = self._process.wait(STOP_TIMEOUT_S)
        self._reader.join(STOP_TIMEOUT_S)
        return code

    def kill(self) -> None:
        """kill -9 of the launcher itself."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._reader.join(STOP_TIMEOUT_S)

    def kill_role(self, role: str) -> None:
        """kill -9 of one process."""
        os.kill(self.run.processes[role], signal.SIGKILL)

    def wait_for(self, start: str, timeout_s: float = READY_TIMEOUT_S) -> str:
        """The next line that begins like this."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no line {start!r} within {timeout_s:.0f} s; it said:\n" + "\n".join(self.said))
            if line.startswith(start):
                return line

    @property
    def run(self) -> RunFile:
        found = run_file.read(self.data)
        assert found is not None, "it does not run"
        return found

    @property
    def url(self) -> str:
        return self.run.url

    @property
    def kafka(self) -> str:
        return self.run.kafka

    def client(self, tenant: str = "default", *, retries: int = 2) -> AsyncClient:
        return AsyncClient(self.url, tenant=tenant, retries=retries)

    def command(self, *arguments: str) -> list[str]:
        """A freshlens command line for this data directory."""
        return [sys.executable, "-m", "freshlens", "--data", str(self.data), *arguments]

    def freshlens(self, *arguments: str, timeout_s: float = 300) -> "subprocess.CompletedProcess[str]":
        """Run a command against it to its end."""
        return subprocess.run(
            self.command(*arguments), env=self._environ, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self.said.append(line.rstrip("\n"))
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)
