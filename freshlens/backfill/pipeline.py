"""Ray Data: slices of the dump go to workers with a model each, on this machine or on a cluster.

Imported only for a back-fill: Ray is an extra, and takes seconds to import.
"""

import asyncio
import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil

from freshlens.backfill.job import Job
from freshlens.backfill.journal import Journal
from freshlens.backfill.loading import Loader
from freshlens.backfill.rows import Done, Loaded, RowSet, Slice
from freshlens.backfill.wiring import EncoderOf, open_loader
from schemas.errors import FreshlensError, SettingsError
from schemas.metrics import RecordingMetrics
from streams import worker

OBJECT_STORE_BYTES = 128 * 1024 * 1024
"""Only slices and outcomes go through it, never pictures."""
_FOLDER_CHARS_MAX = 40
"""Ray puts sockets below its folder, whose paths may have 107 characters."""
_ANSWER_S = 10.0
"""Ray itself would go on asking an address that answers nobody for a quarter of an hour."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}


class Failed(msgspec.Struct, frozen=True):
    """A worker cannot go on: the code and message of the error."""

    code: str
    message: str


class Task(msgspec.Struct, frozen=True):
    """A slice, and those of its rows that are done."""

    slice: Slice
    done: list[tuple[int, int]]


class SliceLoader:
    """What Ray runs in each worker: a loader, kept from slice to slice."""

    def __init__(self, job: Job, encoder_of: EncoderOf) -> None:
        self._job, self._encoder_of = job, encoder_of
        self._runner, self._stack, self._metrics = asyncio.Runner(), AsyncExitStack(), RecordingMetrics()
        self._loader: Loader | None = None

    def __call__(self, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
        task = msgspec.msgpack.decode(item["item"], type=Task)
        try:
            for done in self._loaded(task):
                yield {"done": msgspec.msgpack.encode(done), "failed": b""}
        except FreshlensError as error:
            # Ray would wrap it in a traceback of its own, and start over.
            yield {"failed": msgspec.msgpack.encode(Failed(error.code, error.message)), "done": b""}

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def _loaded(self, task: Task) -> Iterator[Done]:
        if self._loader is None:
            self._loader = self._runner.run(self._opened())
        batches = self._loader.load(task.slice, RowSet(task.done))
        encoded = self._encoded()
        while True:
            rows = self._runner.run(_next(batches))
            if rows is None:
                return
            encoded, before = self._encoded(), encoded
            yield Done(task.slice.file, tuple(rows), encoded - before)

    async def _opened(self) -> Loader:
        encoder = await asyncio.to_thread(self._encoder_of, self._job.settings)
        return await self._stack.enter_async_context(open_loader(self._job, encoder, self._metrics))

    def _encoded(self) -> int:
        values = self._metrics.values.items()
        return int(sum(value for (name, _), value in values if name == "freshlens_encoded_items_total"))


class RayLoader(SliceLoader):
    """The same in a process of its own: it gives way to whatever serves on its machine."""

    def __init__(self, job: Job, encoder_of: EncoderOf) -> None:
        os.nice(10)
        os.environ.update(job.environ)
        super().__init__(job, encoder_of)


async def _next(batches: AsyncIterator[list[Loaded]]) -> list[Loaded] | None:
    return await anext(batches, None)


def tasks_of(slices: Sequence[Slice], journal: Journal) -> list[Task]:
    """What is left to do, in the same order. Pure but for reading the journal's memory."""
    found = []
    for each in slices:
        done = journal.rows(each.file).within(each.first, each.last)
        if each.most is not None or each.least is not None or len(done) < each.rows:
            found.append(Task(each, list(done)))
    return found


def load(
    job: Job,
    tasks: Sequence[Task],
    *,
    address: str | None = None,
    workers: int = 1,
    encoder_of: EncoderOf | None = None,
) -> Iterator[Done]:
    """Load everything, and tell of rows as soon as their effect is confirmed.

    Args:
        address: of a Ray cluster; None: on this machine, in processes of our own that end with the iterator.
        workers: each with a model of its own.

    Raises:
        SettingsError: Ray is not installed, or there is no such cluster. FreshlensError: what a worker met.
    """
    if not tasks:
        return
    with _ray(job.settings.data, address, workers) as ray:
        yield from _results(ray, job, tasks, workers, encoder_of or worker.encoder_of)


def _results(ray: Any, job: Job, tasks: Sequence[Task], workers: int, encoder_of: EncoderOf) -> Iterator[Done]:
    from ray.data import ActorPoolStrategy

    items = [msgspec.msgpack.encode(task) for task in tasks]
    # A block per task, since a block is what Ray hands out, in their order: the popular come first.
    loaded = ray.data.from_items(items, override_num_blocks=len(items)).flat_map(
        RayLoader,
        fn_constructor_args=(job, encoder_of),
        compute=ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        num_cpus=1,
        num_gpus=1 if ray.cluster_resources().get("GPU", 0) >= workers else 0,
    )
    # Nothing is fetched ahead, or each outcome would wait for the next one.
    for table in loaded.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
        for row in table.to_pylist():
            if row["failed"]:
                failed = msgspec.msgpack.decode(row["failed"], type=Failed)
                raise FreshlensError(failed.message, code=failed.code)
            yield msgspec.msgpack.decode(row["done"], type=Done)


@contextmanager
def _ray(data: Path, address: str | None, workers: int) -> Iterator[Any]:
    """Ray, connected; what was started here ends here."""
    os.environ.update(_QUIET)
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise SettingsError(f"a back-fill needs {error.name}: pip install 'freshlens[server,backfill]'") from error

    with ray_folder(data) as folder:
        try:
            with _silenced():
                _connect(ray, address, folder, workers)
        except Exception as error:  # a node of Ray's that does not start in time is a plain one
            raise SettingsError(f"Ray cannot be reached at {address or 'this machine'}: {error}") from error
        try:
            _quieten(ray)
            yield ray
        finally:
            ray.shutdown()


def _connect(ray: Any, address: str | None, folder: Path, workers: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is not None:
        _check_answer(address)
        ray.init(address=address, **quiet)
        return
    # "local": an address in the environment is not meant, nor is a cluster that happens to run here.
    ray.init(
        address="local",
        num_cpus=workers,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=str(folder),
        **quiet,
    )


def _check_answer(address: str) -> None:
    """Do nothing if somebody answers there, or if it names no port (``auto``); raises OSError, ValueError."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), _ANSWER_S).close()


@contextmanager
def _silenced() -> Iterator[None]:
    """Ray's own code writes to the file descriptor that it was told to be silent."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _quieten(ray: Any) -> None:
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Each outcome is told at once, rather than when the slices before it are done, or in a block of 128 MB.
    context.execution_options.preserve_order = False
    context.target_max_block_size = 1


@contextmanager
def ray_folder(data: Path) -> Iterator[Path]:
    """A folder for Ray's sockets, logs and spilled objects, gone afterwards; and what killed runs left is removed."""
    root = data / "tmp"
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob("ray-*"):
        if not psutil.pid_exists(int(left.name.removeprefix("ray-"))):
            _remove(left)
    folder = root / f"ray-{os.getpid()}"
    if len(str(folder)) <= _FOLDER_CHARS_MAX:
        folder.mkdir()
    else:
        folder.symlink_to(tempfile.mkdtemp(prefix="freshlens-"))
    try:
        yield folder.resolve()
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder.resolve(), ignore_errors=True)
    if folder.is_symlink():
        folder.unlink()
