"""Settings of the two processes that live here: the API and the query encoder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from schemas.embeddings import Space
from schemas.errors import SettingsError
from schemas.lane import Lane
from schemas.layout import Layout
from topics.settings import KafkaSettings

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
NO_ENCODER = "none:"
BUNDLED_ENCODER = "bundled"

TIMEOUT_MS = 5_000
"""Encoding on a laptop that is busy with an import fits, and nobody waits for ever."""
TIMEOUT_MS_MAX = 30_000
WAIT_MS_MAX = 60_000
ITEMS_MAX = 1_000
"""Products in one publish or look-up."""
BODY_BYTES_MAX = 10 * 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for."""

    body_bytes_max: int = BODY_BYTES_MAX
    k_max: int = 200
    text_chars_max: int = 1_000
    event_streams_max: int = 200


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Everything the API process needs to know; build it with :meth:`from_env`."""

    kafka: KafkaSettings
    lane: Lane
    store_url: str
    host: str = "127.0.0.1"
    port: int = 8080
    encoder: str = BUNDLED_ENCODER
    encoder_url: str = ""
    timeout_ms: int = TIMEOUT_MS
    """Time for a search that names none."""
    node_age_max_s: float = 10.0
    """A node that has not been heard of for so long is asked last."""
    no_match_image: float | None = None
    no_match_text: float | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def has_encoder(self) -> bool:
        """False in a lane of given vectors only."""
        return not self.encoder.startswith(NO_ENCODER)

    @staticmethod
    def from_env(environ: Mapping[str, str], *, discovered: str | None = None) -> "ApiSettings":
        """Read FRESHLENS_HOST, _PORT, _ENCODER, _ENCODER_URL, _STORE, _TIMEOUT_MS, _NODE_AGE_MAX_S, _NO_MATCH_IMAGE,
        _NO_MATCH_TEXT, _BODY_BYTES_MAX, _K_MAX, _TEXT_CHARS_MAX, and what the lane and Kafka need.

        ``discovered`` is the address of a broker we know of ourselves; the environment wins over it.

        Raises:
            SettingsError: listing everything that is wrong.
        """
        read = _Reader(environ)
        kafka = read.section(lambda: KafkaSettings.from_env(environ, discovered=discovered))
        lane = read.section(lambda: Lane.from_env(environ))
        encoder = environ.get("FRESHLENS_ENCODER") or BUNDLED_ENCODER
        encoder_url = environ.get("FRESHLENS_ENCODER_URL", "").rstrip("/")
        if not encoder.startswith(NO_ENCODER) and not encoder_url:
            read.problems.append(
                "FRESHLENS_ENCODER_URL is not set: where the encoder process listens, http://HOST:PORT"
            )
        limits = Limits(
            body_bytes_max=read.whole("FRESHLENS_BODY_BYTES_MAX", BODY_BYTES_MAX, 1_024, 1 << 30),
            k_max=read.whole("FRESHLENS_K_MAX", 200, 1, 1_000),
            text_chars_max=read.whole("FRESHLENS_TEXT_CHARS_MAX", 1_000, 1, 100_000),
        )
        settings = ApiSettings(
            kafka=kafka or KafkaSettings(""),
            lane=lane or Lane("", Space("none", 1), Layout()),
            store_url=read.store_url(),
            host=read.loopback("FRESHLENS_HOST", "127.0.0.1"),
            port=read.whole("FRESHLENS_PORT", 8080, 0, 65_535),
            encoder=encoder,
            encoder_url=encoder_url,
            timeout_ms=read.whole("FRESHLENS_TIMEOUT_MS", TIMEOUT_MS, 1, TIMEOUT_MS_MAX),
            node_age_max_s=read.number("FRESHLENS_NODE_AGE_MAX_S", 0.1, 3_600.0) or 10.0,
            no_match_image=read.number("FRESHLENS_NO_MATCH_IMAGE", -1.0, 1.0),
            no_match_text=read.number("FRESHLENS_NO_MATCH_TEXT", -1.0, 1.0),
            limits=limits,
        )
        if read.problems:
            raise SettingsError(read.problems)
        return settings


@dataclass(frozen=True, slots=True)
class EncoderServiceSettings:
    """What the encoder process needs to know; build it with :meth:`from_env`."""

    encoder: str = BUNDLED_ENCODER
    host: str = "127.0.0.1"
    port: int = 8090
    batch_max: int = 16
    """Pictures or texts in one call of the model."""
    decoders: int = 1
    """Decoder processes."""
    cache_max: int = 10_000
    """Query embeddings kept, about 1.5 KB each."""
    body_bytes_max: int = BODY_BYTES_MAX

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> "EncoderServiceSettings":
        """Read FRESHLENS_ENCODER, FRESHLENS_ENCODER_HOST, _PORT, _BATCH_MAX, _DECODERS, _CACHE_MAX.

        Raises:
            SettingsError: listing everything that is wrong.
        """
        read = _Reader(environ)
        settings = EncoderServiceSettings(
            encoder=environ.get("FRESHLENS_ENCODER") or BUNDLED_ENCODER,
            host=(environ.get("FRESHLENS_ENCODER_HOST") or "127.0.0.1").strip("[]"),
            port=read.whole("FRESHLENS_ENCODER_PORT", 8090, 0, 65_535),
            batch_max=read.whole("FRESHLENS_ENCODER_BATCH_MAX", 16, 1, 1_024),
            decoders=read.whole("FRESHLENS_ENCODER_DECODERS", 1, 1, 64),
            cache_max=read.whole("FRESHLENS_ENCODER_CACHE_MAX", 10_000, 0, 10_000_000),
            body_bytes_max=read.whole("FRESHLENS_BODY_BYTES_MAX", BODY_BYTES_MAX, 1_024, 1 << 30),
        )
        if settings.encoder.startswith(NO_ENCODER):
            read.problems.append(
                f"FRESHLENS_ENCODER={settings.encoder}: a lane of given vectors has no encoder process"
            )
        if read.problems:
            raise SettingsError(read.problems)
        return settings


class _Reader:
    """Reads variables and collects what is wrong with them, so that it can be said at once."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []

    def section(self, build: Callable[[], T]) -> T | None:
        try:
            return build()
        except SettingsError as error:
            self.problems += error.problems
            return None

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        text = self.environ.get(name) or str(default)
        if text.isdecimal() and least <= int(text) <= most:
            return int(text)
        self.problems.append(f"{name}={text!r} must be a whole number from {least} to {most}")
        return default

    def number(self, name: str, least: float, most: float) -> float | None:
        text = self.environ.get(name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if least <= value <= most:
            return value
        self.problems.append(f"{name}={text!r} must be a number from {least} to {most}")
        return None

    def loopback(self, name: str, default: str) -> str:
        host = self.environ.get(name) or default
        if host.strip("[]") not in LOOPBACK_HOSTS:
            self.problems.append(f"{name}={host!r}: while no API key exists only this machine is served; use 127.0.0.1")
        return host.strip("[]")

    def store_url(self) -> str:
        url = self.environ.get("FRESHLENS_STORE", "")
        if not url and (folder := self.environ.get("FRESHLENS_DATA")):
            url = f"file://{folder}/store" if folder.startswith("/") else f"{folder}/store"
        if not url:
            self.problems.append("FRESHLENS_STORE is not set: where pictures are kept, file:///FOLDER")
        return url
