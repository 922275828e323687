"""``run.json``: how the commands find the ``freshlens up`` that runs in a data directory."""

import os
from pathlib import Path

import msgspec
import psutil


class RunFile(msgspec.Struct, frozen=True):
    """What one running ``up`` says of itself; rewritten whenever a process is replaced.

    ``processes`` maps roles to process ids, 0 while a process is down.
    """

    pid: int
    started_at: float
    """See :func:`start_of`."""
    kafka: str
    url: str
    space: str
    encoder: str
    processes: dict[str, int]
    ready: bool = False


def _path(data: Path) -> Path:
    return data / "run.json"


def start_of(process: psutil.Process) -> float:
    """When a process started, in seconds since a moment that stays the same when somebody sets the clock.

    On Linux psutil adds the time of the boot to what the system knows, and that time moves with the clock.
    """
    started_at: float = process.create_time()
    return started_at - psutil.boot_time() if psutil.LINUX else started_at


def write(data: Path, run: RunFile) -> None:
    """Replace the file as a whole."""
    temporary = data / f"run.json.{os.getpid()}.tmp"
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(run)))
    temporary.replace(_path(data))


def read(data: Path) -> RunFile | None:
    """The ``up`` that runs in this data directory, or None: a file left behind by a killed one does not count."""
    try:
        run = msgspec.json.decode(_path(data).read_bytes(), type=RunFile)
        process = psutil.Process(run.pid)
    except (FileNotFoundError, msgspec.DecodeError, psutil.NoSuchProcess):
        return None
    # A process id is used again; the start time tells whether it is still the one that wrote the file.
    is_same = abs(start_of(process) - run.started_at) < 2 and process.status() != psutil.STATUS_ZOMBIE
    return run if is_same else None


def remove(data: Path) -> None:
    """Say that we run here no more; what another process said of itself stays."""
    try:
        run = msgspec.json.decode(_path(data).read_bytes(), type=RunFile)
    except (FileNotFoundError, msgspec.DecodeError):
        return
    if run.pid == os.getpid():
        _path(data).unlink(missing_ok=True)
