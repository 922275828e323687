"""``freshlens up``: everything on one machine, started, watched and stopped in order."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from freshlens import lane_file, run_file, telemetry
from freshlens.broker import EmbeddedBroker
from freshlens.processes import ROLES
from freshlens.run_file import RunFile
from freshlens.supervisor import Child, Program, Supervisor, unfailing
from processors.encoders.open_clip_encoder import is_vectors_only, space_of
from schemas.environment import Environment
from schemas.errors import SettingsError
from schemas.lane import Lane
from topics import administration, clients
from topics.settings import KafkaSettings

READY_TIMEOUT_S = 120.0
MODEL_ROLES = ("encoder", "embed")
FACING_ROLES = ("search", "api")
SEARCH_PROCESSES_MAX = 64
LOOPBACK = "127.0.0.1"
_BACKLOG = 128
"""Connections that wait to be taken."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class UpSettings:
    """What ``freshlens up`` was asked for; port 0 picks a free one."""

    data: Path
    host: str
    port: int
    kafka_port: int
    environ: Mapping[str, str]

    @property
    def encoder(self) -> str:
        return self.environ.get("FRESHLENS_ENCODER") or "bundled"

    @property
    def search_processes(self) -> int:
        """FRESHLENS_SEARCH_PROCESSES: replicas of the index, each with the query API in its process."""
        env = Environment(self.environ)
        count = env.integer("FRESHLENS_SEARCH_PROCESSES", 1, 1, SEARCH_PROCESSES_MAX)
        env.finish()
        return count


class Launcher:
    """One run of everything: ``start()``, ``until_stopped()``, ``stop()``.

    ``tell`` gets the lines for the terminal: ``kafka HOST:PORT``, ``search http://HOST:PORT/``, ``ready``, and one
    for whatever happens to a process.
    """

    def __init__(self, settings: UpSettings, tell: Tell) -> None:
        self._settings = settings
        self._tell = unfailing(tell)
        self._supervisor = Supervisor(tell, self._processes_changed)
        self._broker: EmbeddedBroker | None = None
        self._listening: socket.socket | None = None
        self._known_pids: set[int] = set()
        self._metrics: Path | None = None
        self._ready = False
        self._stop = asyncio.Event()
        self.kafka_address = ""
        self.url = ""
        self.lane: Lane | None = None

    async def start(self) -> bool:
        """Start everything and wait until it works; False if a signal ended it before that.

        Raises:
            SettingsError, StorageError: nothing keeps running; the message says what to do.
        """
        settings = self._settings
        settings.data.mkdir(parents=True, exist_ok=True)
        (settings.data / "logs").mkdir(exist_ok=True)
        if (running := run_file.read(settings.data)) is not None:
            raise SettingsError(
                f"freshlens already runs in {settings.data} (process {running.pid}, {running.url}): "
                "stop it with `freshlens stop`, or use another --data",
                code="already-running",
            )
        port = chosen_port(settings.host, settings.port)
        self._listen_for_signals()
        try:
            await self.or_stopped(self._start_everything(port))
        except BaseException:
            await self.stop()
            raise
        if not self._ready:
            await self.stop()
        return self._ready

    async def until_stopped(self) -> None:
        """Serve until SIGINT or SIGTERM, or until the terminal is closed (SIGHUP)."""
        await self._stop.wait()
        self._tell("stopping")

    async def or_stopped(self, work: Awaitable[object]) -> None:
        """Do some work beside serving; a signal ends it early."""
        task: asyncio.Future[object] = asyncio.ensure_future(work)
        stopped: asyncio.Future[object] = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        elif (error := task.exception()) is not None:
            raise error

    def request_stop(self) -> None:
        """As if SIGTERM had come."""
        self._stop.set()

    async def stop(self) -> None:
        """Stop what faces outwards first and the broker last, so that nothing is lost on the way."""
        names = [name for name in self._supervisor.pids if name != "kafka"]
        facing = [name for name in names if name.partition("-")[0] in FACING_ROLES]
        await self._supervisor.stop(*facing)
        if self._listening is not None:
            self._listening.close()
        await self._supervisor.stop(*names)
        await self._supervisor.stop("kafka")
        if self._broker is not None:
            self._broker.stop()
        if self._metrics is not None:
            shutil.rmtree(self._metrics, ignore_errors=True)
        run_file.remove(self._settings.data)

    async def _start_everything(self, port: int) -> None:
        settings = self._settings
        self.lane = Lane.from_env({**settings.environ, "FRESHLENS_SPACE": str(space_of(settings.encoder))})
        lane_file.claim(settings.data, self.lane, settings.encoder)
        kafka = await self._prepared_kafka()
        self.url = f"http://{settings.host}:{port}"
        environ = self._child_environ(kafka, self.lane, port)
        roles = roles_of(self.lane, settings.encoder)
        # Importing and loading a model takes longest by far, and needs no broker yet.
        children = [self._start(role, environ) for role in roles if role in MODEL_ROLES]
        await self._until_kafka_answers(kafka, self.lane)
        for role in roles:
            if role == "search":
                children += self._start_search(environ, port)
            elif role == "node":
                children += self._start_nodes(environ, self.lane)
            elif role not in MODEL_ROLES:
                children.append(self._start(role, environ))
        facing = [child for child in children if child.program.name in FACING_ROLES]
        await self._wait_until(*(child.is_ready.wait() for child in facing))
        self._tell(f"search {self.url}/")
        await self._wait_until(*(child.is_ready.wait() for child in children), self._until_answers())
        self._ready = True
        self._write_run_file()
        self._tell("ready")

    async def _until_answers(self) -> None:
        """Wait until the query API itself says that it can answer searches."""
        async with aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{self.url}/readyz") as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.05)

    async def _prepared_kafka(self) -> KafkaSettings:
        """Where Kafka is, or is going to be: the embedded broker's address is known before it runs."""
        settings = self._settings
        if not settings.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
            self._broker = EmbeddedBroker(settings.data, settings.kafka_port, tell=self._tell)
            await asyncio.to_thread(self._broker.prepare)
        kafka = KafkaSettings.from_env(settings.environ, discovered=self._broker.address if self._broker else None)
        self.kafka_address = kafka.bootstrap_servers
        return kafka

    async def _until_kafka_answers(self, kafka: KafkaSettings, lane: Lane) -> None:
        if self._broker is not None:
            child = self._supervisor.start(self._kafka_program(self._broker))
            await self._wait_until(child.is_ready.wait())
        created = await asyncio.to_thread(administration.create_topics, clients.admin(kafka), kafka, lane.layout)
        self._tell(f"kafka {self.kafka_address}")
        if created:
            self._tell(f"created {len(created)} topics")

    async def _wait_until(self, *conditions: Coroutine[Any, Any, object]) -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S), asyncio.TaskGroup() as group:
                for condition in conditions:
                    group.create_task(condition)
        except TimeoutError:
            names = ", ".join(self._supervisor.not_ready) or "the query API"
            raise SettingsError(
                f"not ready after {READY_TIMEOUT_S:.0f} s: {names}; the logs in {self._settings.data / 'logs'} say why",
                code="processes-not-ready",
            ) from None

    def _child_environ(self, kafka: KafkaSettings, lane: Lane, port: int) -> dict[str, str]:
        settings = self._settings
        data = settings.data.resolve()
        self._metrics = telemetry.shared_folder(data)
        encoder_port = free_port()
        own = {
            "FRESHLENS_DATA": str(data),
            "FRESHLENS_STORE": Environment({**settings.environ, "FRESHLENS_DATA": str(data)}).store_url(),
            "FRESHLENS_SPACE": str(lane.space),
            "FRESHLENS_PARTITIONS": str(lane.layout.partitions),
            "FRESHLENS_SHARDS": str(lane.layout.shards),
            "FRESHLENS_ENCODER": settings.encoder,
            "FRESHLENS_HOST": settings.host,
            "FRESHLENS_PORT": str(port),
            **_node(0),
            "FRESHLENS_ENCODER_HOST": LOOPBACK,
            "FRESHLENS_ENCODER_PORT": str(encoder_port),
            telemetry.DIRECTORY_VARIABLE: str(self._metrics),
            # One thread per process: the processes share the cores, not each its own pool of threads.
            "OMP_NUM_THREADS": settings.environ.get("OMP_NUM_THREADS", "1"),
        }
        if not is_vectors_only(settings.encoder):
            own["FRESHLENS_ENCODER_URL"] = f"http://{LOOPBACK}:{encoder_port}"
        return {**settings.environ, **kafka.environment(), **own}

    def _start_search(self, environ: Mapping[str, str], port: int) -> list[Child]:
        """One process, or as many as were asked for: replicas of the shard that serve one socket."""
        count = self._settings.search_processes
        if count == 1:
            return [self._start("search", environ)]
        self._listening = _listening(self._settings.host, port)
        descriptor = self._listening.fileno()
        environ = {**environ, "FRESHLENS_LISTEN_FD": str(descriptor)}
        return [
            self._start(
                "search",
                {**environ, **_node(number, replica=number)},
                f"search-{number}" if number else "search",
                (descriptor,),
            )
            for number in range(count)
        ]

    def _start_nodes(self, environ: Mapping[str, str], lane: Lane) -> list[Child]:
        """One process for each shard."""
        return [
            self._start("node", {**environ, **_node(shard, shard=shard)}, f"node-{shard}")
            for shard in range(lane.layout.shards)
        ]

    def _start(self, role: str, environ: Mapping[str, str], name: str = "", descriptors: Sequence[int] = ()) -> Child:
        command = [sys.executable, "-m", "freshlens", "serve", role, "--supervised"]
        log = self._settings.data / "logs" / f"{name or role}.log"
        return self._supervisor.start(Program(name or role, command, environ, log, descriptors=descriptors))

    def _kafka_program(self, broker: EmbeddedBroker) -> Program:
        async def ready(is_alive: Callable[[], bool]) -> None:
            await asyncio.to_thread(broker.wait_until_ready, is_alive)

        return Program("kafka", broker.command(), os.environ, broker.log_path, ready)

    def _listen_for_signals(self) -> None:
        loop = asyncio.get_running_loop()
        has_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        for number in (signal.SIGINT, signal.SIGTERM, *([] if has_nohup else [signal.SIGHUP])):
            loop.add_signal_handler(number, self._stop.set)

    def _processes_changed(self) -> None:
        with contextlib.suppress(OSError):  # another time
            self._forget_ended()
        self._write_run_file()

    def _forget_ended(self) -> None:
        living = {pid for pid in self._supervisor.pids.values() if pid}
        self._known_pids |= living
        for ended in self._known_pids - living:
            assert self._metrics is not None, "it is there before any process"
            telemetry.forget_process(self._metrics, ended)
            self._known_pids.remove(ended)

    def _write_run_file(self) -> None:
        run = RunFile(
            pid=os.getpid(),
            started_at=run_file.start_of(psutil.Process()),
            kafka=self.kafka_address,
            url=self.url,
            space=str(self.lane.space) if self.lane else "",
            encoder=self._settings.encoder,
            processes=self._supervisor.pids,
            ready=self._ready,
        )
        run_file.write(self._settings.data, run)


def roles_of(lane: Lane, encoder: str) -> list[str]:
    """The roles of one machine: where one shard holds everything, searches need not leave the node's process."""
    apart = {"node", "api"} if lane.layout.shards == 1 else {"search"}
    absent = {"encoder"} if is_vectors_only(encoder) else set()
    return [role for role in ROLES if role not in apart | absent]


def _node(number: int, *, shard: int = 0, replica: int = 0) -> dict[str, str]:
    """The name and address of a replica on this machine."""
    return {
        "FRESHLENS_NODE_ID": f"node-{number}",
        "FRESHLENS_SHARD": str(shard),
        "FRESHLENS_REPLICA": str(replica),
        "FRESHLENS_NODE_HOST": LOOPBACK,
        "FRESHLENS_NODE_PORT": str(free_port()),
    }


def chosen_port(host: str, port: int) -> int:
    """The port to serve on: the one asked for, if it is free, or any free one for 0.

    Raises:
        SettingsError: ``port-in-use``.
    """
    if port == 0:
        return free_port(host)
    if not _is_free(host, port):
        raise SettingsError(
            f"port {port} on {host} is taken: give another one with --port, or 0 for a free one", code="port-in-use"
        )
    return port


def free_port(host: str = LOOPBACK) -> int:
    """A port that nobody listens on, below the range from which the system gives ports to connections."""
    for _ in range(1000):
        port = random.randrange(20_000, 32_000)
        if _is_free(host, port):
            return port
    raise SettingsError(f"no free port on {host}", code="port-in-use")


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens; raises SettingsError: ``port-in-use``."""
    try:
        return socket.create_server((host, port), family=_family(host), backlog=_BACKLOG)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}", code="port-in-use") from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _is_free(host: str, port: int) -> bool:
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
