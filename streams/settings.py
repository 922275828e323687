"""The settings of a worker process, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from processors.fetching import FetchPolicy
from schemas.errors import SettingsError
from schemas.lane import Lane
from streams.quality_settings import QualitySettings
from topics.settings import KafkaSettings

EPOCH_MAX = 2**31


@dataclass(frozen=True, slots=True)
class StreamsSettings:
    """What a worker is told.

    Attributes:
        data: the data directory; the embedding cache lies in ``data/cache/embed-<slot>``.
        store: URL of the object store.
        encoder: as ``processors.open_clip_encoder.load_encoder`` takes it.
        epoch: the processing epoch; raising it makes re-encoded views new rows.
        slot: which process of its role this is, from 0.
    """

    kafka: KafkaSettings
    lane: Lane
    data: Path
    store: str
    encoder: str = "bundled"
    epoch: int = 0
    slot: int = 0
    fetch: FetchPolicy = field(default_factory=FetchPolicy)
    quality: QualitySettings = field(default_factory=QualitySettings)

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> "StreamsSettings":
        """Read KAFKA_* and FRESHLENS_*.

        Raises:
            SettingsError: listing everything that is wrong.
        """
        problems: list[str] = []
        kafka, lane = KafkaSettings("unknown:1"), None
        try:
            kafka = KafkaSettings.from_env(environ)
        except SettingsError as error:
            problems += error.problems
        try:
            lane = Lane.from_env(environ)
        except SettingsError as error:
            problems += error.problems
        quality = QualitySettings()
        try:
            quality = QualitySettings.from_env(environ)
        except SettingsError as error:
            problems += error.problems
        data = Path(environ.get("FRESHLENS_DATA") or ".freshlens").resolve()
        epoch = _number(environ, "FRESHLENS_PROCESSING_EPOCH", EPOCH_MAX, problems)
        slot = _number(environ, "FRESHLENS_WORKER_SLOT", 1023, problems)
        roots = [root for root in environ.get("FRESHLENS_FETCH_ROOTS", "").split(":") if root]
        problems += [f"FRESHLENS_FETCH_ROOTS: no such folder: {root}" for root in roots if not Path(root).is_dir()]
        if problems or lane is None:
            raise SettingsError(problems)
        return StreamsSettings(
            kafka=kafka,
            lane=lane,
            data=data,
            store=environ.get("FRESHLENS_STORE") or f"file://{data}/store",
            encoder=environ.get("FRESHLENS_ENCODER") or "bundled",
            epoch=epoch,
            slot=slot,
            fetch=FetchPolicy(
                roots=tuple(Path(root).resolve() for root in roots),
                private_allowed=environ.get("FRESHLENS_FETCH_PRIVATE") == "1",
            ),
            quality=quality,
        )


def _number(environ: Mapping[str, str], name: str, most: int, problems: list[str]) -> int:
    text = environ.get(name) or "0"
    if text.isdecimal() and int(text) <= most:
        return int(text)
    problems.append(f"{name}={text!r} must be a whole number from 0 to {most}")
    return 0
