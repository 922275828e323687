"""The settings of a worker process, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from processors.fetching.policy import FetchPolicy
from processors.pictures.gate_settings import GateSettings
from schemas.environment import Environment
from schemas.lane import UNREAD, Lane
from streams.cache import CACHE_BYTES_MAX
from streams.fetching.settings import read_fetch_policy
from streams.quality_settings import QualitySettings
from streams.watch.settings import WatchSettings
from topics.declarations import TOMBSTONE_MS
from topics.settings import KafkaSettings, tombstone_ms

EPOCH_MAX = 2**31


@dataclass(frozen=True, slots=True)
class StreamsSettings:
    """What a worker is told.

    Attributes:
        data: the data directory; the embedding cache lies in ``data/cache/embed-<slot>``.
        store: URL of the object store.
        encoder: as ``processors.encoders.open_clip_encoder.load_encoder`` takes it.
        epoch: the processing epoch; raising it makes re-encoded views new rows.
        slot: which process of its role this is, from 0.
        gate: which pictures are refused although they can be read.
        remembered_ms: how long deletions are remembered; what is older is processed no more.
        agreement: whether pictures are compared with their product's text.
        video_frames_max: key frames that become views of a product, of each video.
        video_s_max: longer videos are refused, in seconds.
        encoder_device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        encoder_threads: of the model; 0: by its size and the cores there are.
        decoders: processes that decode; 0: by the cores there are.
        cache_bytes_max: of the embedding cache's files.
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
    watch: WatchSettings = field(default_factory=WatchSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    remembered_ms: int = TOMBSTONE_MS
    agreement: bool = False
    video_frames_max: int = 4
    video_s_max: int = 600
    encoder_device: str = "auto"
    encoder_threads: int = 0
    decoders: int = 0
    cache_bytes_max: int = CACHE_BYTES_MAX

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> "StreamsSettings":
        """Read KAFKA_* and FRESHLENS_*.

        Raises:
            SettingsError: listing everything that is wrong.
        """
        env = Environment(environ)
        settings = StreamsSettings(
            kafka=env.section(KafkaSettings.from_env, KafkaSettings("")),
            lane=env.section(Lane.from_env, UNREAD),
            data=env.data(),
            store=env.store_url(),
            encoder=env.text("FRESHLENS_ENCODER", "bundled"),
            epoch=env.integer("FRESHLENS_PROCESSING_EPOCH", 0, 0, EPOCH_MAX),
            slot=env.integer("FRESHLENS_WORKER_SLOT", 0, 0, 1023),
            remembered_ms=tombstone_ms(env),
            fetch=env.section(read_fetch_policy, FetchPolicy()),
            quality=env.section(QualitySettings.from_env, QualitySettings()),
            watch=env.section(WatchSettings.from_env, WatchSettings()),
            gate=env.section(GateSettings.from_env, GateSettings()),
            agreement=env.text("FRESHLENS_AGREEMENT") == "1",
            video_frames_max=env.integer("FRESHLENS_VIDEO_FRAMES_MAX", 4, 1, 16),
            video_s_max=env.integer("FRESHLENS_VIDEO_S_MAX", 600, 1, 7_200),
            encoder_device=env.text("FRESHLENS_ENCODER_DEVICE", "auto"),
            encoder_threads=env.integer("FRESHLENS_ENCODER_THREADS", 0, 0, 1024),
            decoders=env.integer("FRESHLENS_DECODERS", 0, 0, 1024),
            cache_bytes_max=env.integer("FRESHLENS_CACHE_BYTES_MAX", CACHE_BYTES_MAX, 1_000_000, 2**50),
        )
        env.finish()
        return settings
