"""Settings of the two processes that live here: the API and the query encoder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

from processors.pictures.gate_settings import BITS_MAX, BLOCKLIST_BITS, GateSettings
from query_api.ranking.settings import RankSettings
from schemas.environment import Environment
from schemas.errors import SettingsError
from schemas.lane import UNREAD, Lane
from topics.settings import KafkaSettings

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
NO_ENCODER = "none:"
BUNDLED_ENCODER = "bundled"

TIMEOUT_MS = 5_000
"""Encoding on a laptop that is busy with an import fits, and nobody waits for ever."""
TIMEOUT_MS_MAX = 30_000
TARGET_MS = 200
WAIT_MS_MAX = 60_000
ITEMS_MAX = 1_000
"""Products in one publish or look-up."""
BODY_BYTES_MAX = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for."""

    body_bytes_max: int = BODY_BYTES_MAX
    k_max: int = 200
    text_chars_max: int = 1_000
    event_streams_max: int = 200
    requests_max: int = 256
    """Requests in hand at the same time in one process; what is more is refused at once."""


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Everything the API process needs to know; build it with :meth:`from_env`."""

    kafka: KafkaSettings
    lane: Lane
    store_url: str
    host: str = "127.0.0.1"
    port: int = 8080
    listening_fd: int | None = None
    """File descriptor of a socket that other processes of this machine serve as well; None: host and port count."""
    encoder: str = BUNDLED_ENCODER
    encoder_url: str = ""
    timeout_ms: int = TIMEOUT_MS
    """Time for a search that names none."""
    target_ms: int = TARGET_MS
    """Searches that are expected to take longer leave out what they can."""
    node_age_max_s: float = 10.0
    """A node that has not been heard of for so long is asked last."""
    no_match_image: float | None = None
    no_match_text: float | None = None
    keys_poll_s: float = 5.0
    """How often API keys are read again; a revocation counts after so long."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may read answers."""
    blocklist_bits: int = BLOCKLIST_BITS
    limits: Limits = field(default_factory=Limits)
    rank: RankSettings = field(default_factory=RankSettings)

    @property
    def has_encoder(self) -> bool:
        """False in a lane of given vectors only."""
        return not self.encoder.startswith(NO_ENCODER)

    @staticmethod
    def from_env(environ: Mapping[str, str], *, discovered: str | None = None) -> "ApiSettings":
        """Read FRESHLENS_HOST, _PORT, _LISTEN_FD, _ENCODER, _ENCODER_URL, _STORE, _TIMEOUT_MS, _TARGET_MS,
        _NODE_AGE_MAX_S, _NO_MATCH_IMAGE, _NO_MATCH_TEXT, _BODY_BYTES_MAX, _K_MAX, _TEXT_CHARS_MAX, _REQUESTS_MAX,
        _KEYS_POLL_S, _CORS_ORIGINS, _BLOCKLIST_BITS, and what ranking, the lane and Kafka need.

        ``discovered`` is the address of a broker we know of ourselves; the environment wins over it.

        Raises:
            SettingsError: listing everything that is wrong.
        """
        env = Environment(environ)
        encoder = env.text("FRESHLENS_ENCODER", BUNDLED_ENCODER)
        encoder_url = env.text("FRESHLENS_ENCODER_URL").rstrip("/")
        if not encoder.startswith(NO_ENCODER) and not encoder_url:
            env.problems.append("FRESHLENS_ENCODER_URL is not set: where the encoder process listens, http://HOST:PORT")
        if not env.text("FRESHLENS_STORE") and not env.text("FRESHLENS_DATA"):
            env.problems.append("FRESHLENS_STORE is not set: where pictures are kept, file:///FOLDER")
        settings = ApiSettings(
            kafka=env.section(partial(KafkaSettings.from_env, discovered=discovered), KafkaSettings("")),
            lane=env.section(Lane.from_env, UNREAD),
            store_url=env.store_url(),
            host=env.text("FRESHLENS_HOST", "127.0.0.1").strip("[]"),
            port=env.integer("FRESHLENS_PORT", 8080, 0, 65_535),
            listening_fd=env.integer("FRESHLENS_LISTEN_FD", 0, 0, 1_000_000) or None,
            encoder=encoder,
            encoder_url=encoder_url,
            timeout_ms=env.integer("FRESHLENS_TIMEOUT_MS", TIMEOUT_MS, 1, TIMEOUT_MS_MAX),
            target_ms=env.integer("FRESHLENS_TARGET_MS", TARGET_MS, 1, TIMEOUT_MS_MAX),
            node_age_max_s=env.number("FRESHLENS_NODE_AGE_MAX_S", 10.0, 0.1, 3_600.0),
            no_match_image=env.number("FRESHLENS_NO_MATCH_IMAGE", None, -1.0, 1.0),
            no_match_text=env.number("FRESHLENS_NO_MATCH_TEXT", None, -1.0, 1.0),
            keys_poll_s=env.seconds("FRESHLENS_KEYS_POLL_S", 5.0),
            cors_origins=_origins(env),
            blocklist_bits=env.integer("FRESHLENS_BLOCKLIST_BITS", BLOCKLIST_BITS, 0, BITS_MAX),
            limits=Limits(
                body_bytes_max=_body_bytes_max(env),
                k_max=env.integer("FRESHLENS_K_MAX", 200, 1, 1_000),
                text_chars_max=env.integer("FRESHLENS_TEXT_CHARS_MAX", 1_000, 1, 100_000),
                requests_max=env.integer("FRESHLENS_REQUESTS_MAX", 256, 1, 100_000),
            ),
            rank=env.section(RankSettings.from_env, RankSettings()),
        )
        env.finish()
        return settings


@dataclass(frozen=True, slots=True)
class EncoderServiceSettings:
    """What the encoder process needs to know; build it with :meth:`from_env`."""

    encoder: str = BUNDLED_ENCODER
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    host: str = "127.0.0.1"
    port: int = 8090
    batch_max: int = 16
    """Pictures or texts in one call of the model."""
    decoders: int = 1
    """Decoder processes."""
    cache_max: int = 10_000
    """Query embeddings kept, about 1.5 KB each."""
    body_bytes_max: int = BODY_BYTES_MAX
    store_url: str = ""
    """Where the block list is; empty: there is none."""
    gate: GateSettings = field(default_factory=GateSettings)

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> "EncoderServiceSettings":
        """Read FRESHLENS_ENCODER, FRESHLENS_ENCODER_DEVICE, _HOST, _PORT, _BATCH_MAX, _DECODERS, _CACHE_MAX,
        FRESHLENS_STORE, and what the gate needs.

        Raises:
            SettingsError: listing everything that is wrong.
        """
        env = Environment(environ)
        settings = EncoderServiceSettings(
            encoder=env.text("FRESHLENS_ENCODER", BUNDLED_ENCODER),
            device=env.text("FRESHLENS_ENCODER_DEVICE", "auto"),
            host=env.text("FRESHLENS_ENCODER_HOST", "127.0.0.1").strip("[]"),
            port=env.integer("FRESHLENS_ENCODER_PORT", 8090, 0, 65_535),
            batch_max=env.integer("FRESHLENS_ENCODER_BATCH_MAX", 16, 1, 1_024),
            decoders=env.integer("FRESHLENS_ENCODER_DECODERS", 1, 1, 64),
            cache_max=env.integer("FRESHLENS_ENCODER_CACHE_MAX", 10_000, 0, 10_000_000),
            body_bytes_max=_body_bytes_max(env),
            store_url=env.store_url() if env.text("FRESHLENS_STORE") or env.text("FRESHLENS_DATA") else "",
            gate=env.section(GateSettings.from_env, GateSettings()),
        )
        if settings.encoder.startswith(NO_ENCODER):
            env.problems.append(f"FRESHLENS_ENCODER={settings.encoder}: a lane of given vectors has no encoder process")
        env.finish()
        return settings


def _body_bytes_max(env: Environment) -> int:
    return env.integer("FRESHLENS_BODY_BYTES_MAX", BODY_BYTES_MAX, 1_024, 1 << 30)


def check_host(host: str, *, has_keys: bool) -> None:
    """Do nothing if requests may be served at this address.

    Raises:
        SettingsError: other machines could ask, and there are no keys to tell who may.
    """
    if not has_keys and host.strip("[]") not in LOOPBACK_HOSTS:
        raise SettingsError(
            f"host {host!r} serves other machines, and no API key exists: create one with `freshlens keys create`, "
            "or use 127.0.0.1"
        )


def _origins(env: Environment) -> tuple[str, ...]:
    origins = tuple(filter(None, (each.strip() for each in env.text("FRESHLENS_CORS_ORIGINS").split(","))))
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname or f"{parts.scheme}://{parts.netloc}" != origin:
            env.problems.append(f"FRESHLENS_CORS_ORIGINS: {origin!r} is no origin as https://shop.example is one")
    return origins
