"""Settings of the index node and of the compactor, read once from the environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from index_nodes.replicas.applier import ROWS_MAX
from schemas.environment import Environment
from schemas.lane import UNREAD, Lane
from topics.declarations import DAY_MS, TOMBSTONE_MS
from topics.settings import KafkaSettings, tombstone_ms

_NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """One index node: which shard it serves, and where it answers."""

    kafka: KafkaSettings
    lane: Lane
    store: str
    """URL of the object store."""
    shard: int = 0
    replica: int = 0
    node_id: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    """0 picks a free one; the router learns it from node-status."""
    heads_poll_s: float = 5.0
    stale_after_ms: int = 10_000
    """Lagging by more than this, answers say that they are stale."""
    delta_rows_max: int = ROWS_MAX
    """Rows and changed products held beside the generation; beyond, content waits for the next one (skim mode)."""
    hot_searches_max: int = 4_096
    """Searches whose rows of the generation are remembered; 0: none."""

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> "NodeSettings":
        """From ``KAFKA_*`` and ``FRESHLENS_``: LANE, SPACE, PARTITIONS, SHARDS, DATA, STORE, SHARD, REPLICA, NODE_ID,
        NODE_HOST, NODE_PORT, HEADS_POLL_S, STALE_AFTER_MS, DELTA_ROWS_MAX and HOT_SEARCHES_MAX.

        Raises:
            SettingsError: with everything that is wrong, at once.
        """
        env = Environment(environ)
        lane = env.section(Lane.from_env, UNREAD)
        shard = env.integer("FRESHLENS_SHARD", 0, 0, 1023)
        if shard >= lane.layout.shards:
            env.problems.append(f"FRESHLENS_SHARD={shard}: the layout has shards 0 to {lane.layout.shards - 1}")
        replica = env.integer("FRESHLENS_REPLICA", 0, 0, 1023)
        node_id = env.text("FRESHLENS_NODE_ID", f"node-{shard}-{replica}")
        if not _NODE_ID.fullmatch(node_id):
            env.problems.append("FRESHLENS_NODE_ID: 1 to 100 of A-Z, a-z, 0-9, '.', '_' and '-'")
        settings = NodeSettings(
            kafka=env.section(KafkaSettings.from_env, KafkaSettings("")),
            lane=lane,
            store=env.store_url(),
            shard=shard,
            replica=replica,
            node_id=node_id,
            host=env.text("FRESHLENS_NODE_HOST", "127.0.0.1"),
            port=env.integer("FRESHLENS_NODE_PORT", 0, 0, 65_535),
            heads_poll_s=env.seconds("FRESHLENS_HEADS_POLL_S", 5.0),
            stale_after_ms=env.integer("FRESHLENS_STALE_AFTER_MS", 10_000, 1, 86_400_000),
            delta_rows_max=env.integer("FRESHLENS_DELTA_ROWS_MAX", ROWS_MAX, 1, 1 << 31),
            hot_searches_max=env.integer("FRESHLENS_HOT_SEARCHES_MAX", 4_096, 0, 10_000_000),
        )
        env.finish()
        return settings


@dataclass(frozen=True, slots=True)
class BuildPolicy:
    """What a new generation may forget, when it learns a new codebook, and how much worse it may answer."""

    tombstone_ms: int = TOMBSTONE_MS
    """Age of a deletion from which nothing older can be redelivered, by the greatest append time folded in and by the
    compactor's clock, whichever is earlier."""
    retrain_age_us: int = 30 * DAY_MS * 1000
    retrain_growth: float = 2.0
    """Rows, as a multiple or a fraction of those that the codebook was trained for."""
    retrain_imbalance: float = 1.5
    """Imbalance of the lists, as a multiple of that at training; what a search scans grows with it."""
    retrain_residual: float = 1.15
    """Error of the codes, as a multiple of that at training."""
    overlap_loss_max: float = 0.08
    """How much less of the exact ten nearest a build may find than what is served."""


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """What of the past is kept."""

    generations: int = 2
    """So many of the newest heads stay, however old they are."""
    age_us: int = 3 * DAY_MS * 1000
    """And every head younger than this."""
    unpublished_us: int = DAY_MS * 1000
    """A build without a head goes after this: nobody may be at work on it any more."""
    rejected: int = 2
    """So many of the newest rejected builds stay until then: who is about to accept the last has time to."""
    reported_us: int = 3_600_000_000
    """A head that a node reported within this time stays."""
    reports: int = 100
    """Reports of so many heads stay: they are small, and outlive what they tell of so that trends can be read."""
    truncates: bool = True
    """Whether records of index-log that no kept generation needs are deleted."""


@dataclass(frozen=True, slots=True)
class CompactorSettings:
    """When the compactor makes a new generation of every shard of its lane."""

    kafka: KafkaSettings
    lane: Lane
    store: str
    at: str | None = "03:00"
    """Local time of day of the scheduled compaction; None: no schedule."""
    records_max: int = 50_000
    """Records of index-log since the head that ask for a compaction."""
    log_bytes_max: int = 1 << 30
    """The same in bytes of records, which bounds the time that a restart takes."""
    poll_s: float = 10.0
    build: BuildPolicy = BuildPolicy()
    retention: RetentionPolicy = RetentionPolicy()

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> "CompactorSettings":
        """From ``KAFKA_*`` and ``FRESHLENS_``: LANE, SPACE, PARTITIONS, SHARDS, DATA, STORE, COMPACT_AT (``HH:MM`` or
        ``never``), COMPACT_RECORDS, COMPACT_LOG_BYTES, COMPACT_POLL_S, TOMBSTONE_DAYS, RETRAIN_DAYS,
        RETAIN_GENERATIONS, RETAIN_HOURS and TRUNCATE (``0`` or ``1``).

        Raises:
            SettingsError: with everything that is wrong, at once.
        """
        env = Environment(environ)
        at = env.text("FRESHLENS_COMPACT_AT", "03:00")
        if at != "never" and not _TIME_OF_DAY.fullmatch(at):
            env.problems.append(f"FRESHLENS_COMPACT_AT={at!r} must be HH:MM, or never")
        settings = CompactorSettings(
            kafka=env.section(KafkaSettings.from_env, KafkaSettings("")),
            lane=env.section(Lane.from_env, UNREAD),
            store=env.store_url(),
            at=None if at == "never" else at,
            records_max=env.integer("FRESHLENS_COMPACT_RECORDS", 50_000, 1, 1 << 40),
            log_bytes_max=env.integer("FRESHLENS_COMPACT_LOG_BYTES", 1 << 30, 1, 1 << 60),
            poll_s=env.seconds("FRESHLENS_COMPACT_POLL_S", 10.0),
            build=BuildPolicy(
                tombstone_ms=tombstone_ms(env),
                retrain_age_us=env.integer("FRESHLENS_RETRAIN_DAYS", 30, 1, 36_500) * DAY_MS * 1000,
            ),
            retention=RetentionPolicy(
                generations=env.integer("FRESHLENS_RETAIN_GENERATIONS", 2, 2, 1_000_000),
                age_us=env.integer("FRESHLENS_RETAIN_HOURS", 72, 0, 1_000_000) * 3_600_000_000,
                truncates=env.integer("FRESHLENS_TRUNCATE", 1, 0, 1) == 1,
            ),
        )
        env.finish()
        return settings
