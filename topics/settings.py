"""How to reach Kafka, read once from the environment, in the words of each of the three clients."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.environment import Environment
from schemas.errors import InvalidRecord, SettingsError
from schemas.events import Source
from schemas.lane import DEFAULT_LANE
from topics.declarations import DAY_MS, INPUTS, TOMBSTONE_MS, TOPICS

Setting = str | int | float | bool
"""The value of a setting of confluent-kafka."""

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_SERVER = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})")
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,100}")
_LANE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_REGISTRY = re.compile(r"(https?|mock)://\S+")
_FILES = {
    "KAFKA_SSL_CAFILE": "ssl_cafile",
    "KAFKA_SSL_CERTFILE": "ssl_certfile",
    "KAFKA_SSL_KEYFILE": "ssl_keyfile",
}


def tombstone_ms(env: Environment) -> int:
    """How long deletions are remembered: ``FRESHLENS_TOMBSTONE_DAYS``. What is older may bring products back."""
    return env.integer("FRESHLENS_TOMBSTONE_DAYS", TOMBSTONE_MS // DAY_MS, 1, 36_500) * DAY_MS


def check_is_remembered(source: Source, now_ms: int, remembered_ms: int) -> None:
    """Do nothing if an event may still be processed.

    Raises:
        InvalidRecord: it is older than deletions are remembered (:func:`tombstone_ms`), so that nobody can tell any
            more whether its product was deleted since.
    """
    age_ms = now_ms - source.appended_at
    if source.topic in INPUTS and age_ms > remembered_ms:
        raise InvalidRecord(
            f"appended {age_ms // DAY_MS} days ago, and deletes are remembered for {remembered_ms // DAY_MS}: "
            "publish the product anew"
        )


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where Kafka is, who we are there, and how our topics are named.

    Build it with :meth:`from_env`, which checks everything. Secrets do not show in its repr.
    """

    bootstrap_servers: str
    """``host:port``, several separated by commas."""
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    topic_prefix: str = ""
    lane: str = DEFAULT_LANE
    """The embedding lane, whose topics and groups these are."""
    schema_registry_url: str | None = field(default=None, repr=False)  # may carry user:password@

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, discovered: str | None = None) -> "KafkaSettings":
        """From ``KAFKA_*``, ``SCHEMA_REGISTRY_URL``, ``FRESHLENS_TOPIC_PREFIX`` and ``FRESHLENS_LANE``.

        ``discovered`` is the address of a broker we know of ourselves; the environment wins over it.

        Raises:
            SettingsError: with everything that is wrong, at once.
        """
        settings = cls(
            bootstrap_servers=_joined(environ.get("KAFKA_BOOTSTRAP_SERVERS") or discovered or ""),
            security_protocol=environ.get("KAFKA_SECURITY_PROTOCOL") or "PLAINTEXT",
            sasl_mechanism=environ.get("KAFKA_SASL_MECHANISM") or None,
            sasl_username=environ.get("KAFKA_SASL_USERNAME") or None,
            sasl_password=environ.get("KAFKA_SASL_PASSWORD") or None,
            topic_prefix=environ.get("FRESHLENS_TOPIC_PREFIX", ""),
            lane=environ.get("FRESHLENS_LANE") or DEFAULT_LANE,
            schema_registry_url=environ.get("SCHEMA_REGISTRY_URL") or None,
            **{name: environ.get(variable) or None for variable, name in _FILES.items()},
        )
        if problems := settings.problems():
            raise SettingsError(problems)
        return settings

    def problems(self) -> list[str]:
        """Everything that is wrong with these settings, each with its variable; empty when usable."""
        return [
            *_server_problems(self.bootstrap_servers),
            *_sasl_problems(self),
            *_tls_problems(self),
            *_name_problems(self),
        ]

    @property
    def uses_tls(self) -> bool:
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def uses_sasl(self) -> bool:
        return self.security_protocol.startswith("SASL_")

    def topic(self, name: str) -> str:
        """The name on the cluster of a declared topic."""
        return TOPICS[name].full_name(self.topic_prefix, self.lane)

    def group(self, name: str) -> str:
        """The name on the cluster of a consumer group of ours."""
        return f"{self.topic_prefix}freshlens-{name}" + (f".{self.lane}" if self.lane != DEFAULT_LANE else "")

    def environment(self) -> dict[str, str]:
        """The variables that :meth:`from_env` reads these from; with secrets, for child processes only."""
        values = {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "KAFKA_SECURITY_PROTOCOL": self.security_protocol,
            "KAFKA_SASL_MECHANISM": self.sasl_mechanism,
            "KAFKA_SASL_USERNAME": self.sasl_username,
            "KAFKA_SASL_PASSWORD": self.sasl_password,
            "FRESHLENS_TOPIC_PREFIX": self.topic_prefix,
            "FRESHLENS_LANE": self.lane,
            "SCHEMA_REGISTRY_URL": self.schema_registry_url,
            **{variable: getattr(self, name) for variable, name in _FILES.items()},
        }
        return {variable: value for variable, value in values.items() if value}

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context for the asyncio clients; None without TLS."""
        if not self.uses_tls:
            return None
        context = ssl.create_default_context(cafile=self.ssl_cafile)
        if self.ssl_certfile is not None:
            context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        return context

    def confluent(self) -> dict[str, Setting]:
        """The settings as confluent-kafka (librdkafka) names them."""
        values = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.sasl_username,
            "sasl.password": self.sasl_password,
            "ssl.ca.location": self.ssl_cafile,
            "ssl.certificate.location": self.ssl_certfile,
            "ssl.key.location": self.ssl_keyfile,
        }
        return {key: value for key, value in values.items() if value is not None}

    def aiokafka(self) -> dict[str, Any]:
        """The settings as keyword arguments of aiokafka's clients."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers.split(","),
            "security_protocol": self.security_protocol,
            "ssl_context": self.ssl_context(),
        }
        if self.uses_sasl:
            arguments["sasl_mechanism"] = self.sasl_mechanism
            arguments["sasl_plain_username"] = self.sasl_username
            arguments["sasl_plain_password"] = self.sasl_password
        return arguments

    def faust(self) -> dict[str, Any]:
        """The settings as keyword arguments of ``faust.App``: ``broker`` and ``broker_credentials``."""
        import faust  # heavy, and needed by the workers only

        credentials: Any = None
        if self.uses_sasl:
            credentials = faust.SASLCredentials(
                mechanism=self.sasl_mechanism,
                username=self.sasl_username,
                password=self.sasl_password,
                ssl_context=self.ssl_context(),
            )
        elif self.uses_tls:
            credentials = faust.SSLCredentials(context=self.ssl_context())
        return {
            "broker": [f"kafka://{server}" for server in self.bootstrap_servers.split(",")],
            "broker_credentials": credentials,
        }


def _joined(servers: str) -> str:
    return ",".join(part.strip() for part in servers.split(",") if part.strip())


def _server_problems(servers: str) -> list[str]:
    if not servers:
        return ["KAFKA_BOOTSTRAP_SERVERS is not set: give host:port, or let `freshlens up` start a broker"]
    return [
        f"KAFKA_BOOTSTRAP_SERVERS: {server[:100]!r} is not host:port"
        for server in servers.split(",")
        if not (match := _SERVER.fullmatch(server)) or not 1 <= int(match["port"]) <= 65535
    ]


def _sasl_problems(settings: KafkaSettings) -> list[str]:
    given = {
        "KAFKA_SASL_MECHANISM": settings.sasl_mechanism,
        "KAFKA_SASL_USERNAME": settings.sasl_username,
        "KAFKA_SASL_PASSWORD": settings.sasl_password,
    }
    if settings.security_protocol not in _PROTOCOLS:
        return [f"KAFKA_SECURITY_PROTOCOL must be one of {', '.join(_PROTOCOLS)}"]
    if not settings.uses_sasl:
        return [
            f"{variable} is set, but KAFKA_SECURITY_PROTOCOL is {settings.security_protocol}: use SASL_SSL"
            for variable, value in given.items()
            if value is not None
        ]
    problems = [f"{variable} is needed with SASL" for variable, value in given.items() if value is None]
    if settings.sasl_mechanism not in (None, *_MECHANISMS):
        problems.append(f"KAFKA_SASL_MECHANISM must be one of {', '.join(_MECHANISMS)}")
    return problems


def _tls_problems(settings: KafkaSettings) -> list[str]:
    problems = []
    for variable, name in _FILES.items():
        path = getattr(settings, name)
        if path is None:
            continue
        if not settings.uses_tls:
            problems.append(f"{variable} is set, but KAFKA_SECURITY_PROTOCOL is {settings.security_protocol}")
        if not Path(path).is_file():
            problems.append(f"{variable}: no such file: {path}")
    if (settings.ssl_certfile is None) != (settings.ssl_keyfile is None):
        problems.append("KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE go together: set both or neither")
    return problems


def _name_problems(settings: KafkaSettings) -> list[str]:
    problems = []
    if not _PREFIX.fullmatch(settings.topic_prefix):
        problems.append("FRESHLENS_TOPIC_PREFIX: up to 100 of A-Z, a-z, 0-9, '.', '_' and '-'")
    if not _LANE.fullmatch(settings.lane):
        problems.append("FRESHLENS_LANE: 1 to 63 of a-z, 0-9 and '-'")
    if settings.schema_registry_url and not _REGISTRY.fullmatch(settings.schema_registry_url):
        problems.append("SCHEMA_REGISTRY_URL must start with http:// or https://")
    return problems
