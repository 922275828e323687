"""The settings of a worker process, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from processors.fetching import FetchPolicy
from schemas.environment import Environment
from schemas.lane import UNREAD, Lane
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
        env = Environment(environ)
        roots = [root for root in env.text("FRESHLENS_FETCH_ROOTS").split(":") if root]
        env.problems += [f"FRESHLENS_FETCH_ROOTS: no such folder: {root}" for root in roots if not Path(root).is_dir()]
        settings = StreamsSettings(
            kafka=env.section(KafkaSettings.from_env, KafkaSettings("")),
            lane=env.section(Lane.from_env, UNREAD),
            data=env.data(),
            store=env.store_url(),
            encoder=env.text("FRESHLENS_ENCODER", "bundled"),
            epoch=env.integer("FRESHLENS_PROCESSING_EPOCH", 0, 0, EPOCH_MAX),
            slot=env.integer("FRESHLENS_WORKER_SLOT", 0, 0, 1023),
            fetch=FetchPolicy(
                roots=tuple(Path(root).resolve() for root in roots),
                private_allowed=env.text("FRESHLENS_FETCH_PRIVATE") == "1",
            ),
            quality=env.section(QualitySettings.from_env, QualitySettings()),
        )
        env.finish()
        return settings
