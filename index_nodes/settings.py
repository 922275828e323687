"""Settings of the index node and of the compactor, read once from the environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.errors import SettingsError
from schemas.lane import Lane
from topics.settings import KafkaSettings

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

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> "NodeSettings":
        """From ``KAFKA_*`` and ``FRESHLENS_``: LANE, SPACE, PARTITIONS, SHARDS, DATA, STORE, SHARD, REPLICA, NODE_ID,
        NODE_HOST, NODE_PORT, HEADS_POLL_S and STALE_AFTER_MS.

        Raises:
            SettingsError: with everything that is wrong, at once.
        """
        reading = _Reading(environ)
        kafka, lane = reading.kafka(), reading.lane()
        shard = reading.integer("FRESHLENS_SHARD", 0, 0, 1023)
        if lane is not None and shard >= lane.layout.shards:
            reading.problems.append(f"FRESHLENS_SHARD={shard}: the layout has shards 0 to {lane.layout.shards - 1}")
        replica = reading.integer("FRESHLENS_REPLICA", 0, 0, 1023)
        node_id = environ.get("FRESHLENS_NODE_ID") or f"node-{shard}-{replica}"
        if not _NODE_ID.fullmatch(node_id):
            reading.problems.append("FRESHLENS_NODE_ID: 1 to 100 of A-Z, a-z, 0-9, '.', '_' and '-'")
        store = reading.store()
        port = reading.integer("FRESHLENS_NODE_PORT", 0, 0, 65535)
        heads_poll_s = reading.seconds("FRESHLENS_HEADS_POLL_S", 5.0)
        stale_after_ms = reading.integer("FRESHLENS_STALE_AFTER_MS", 10_000, 1, 86_400_000)
        reading.finish()
        assert kafka is not None
        assert lane is not None
        return NodeSettings(
            kafka=kafka,
            lane=lane,
            store=store,
            shard=shard,
            replica=replica,
            node_id=node_id,
            host=environ.get("FRESHLENS_NODE_HOST") or "127.0.0.1",
            port=port,
            heads_poll_s=heads_poll_s,
            stale_after_ms=stale_after_ms,
        )


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

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> "CompactorSettings":
        """From ``KAFKA_*`` and ``FRESHLENS_``: LANE, SPACE, PARTITIONS, SHARDS, DATA, STORE, COMPACT_AT (``HH:MM`` or
        ``never``), COMPACT_RECORDS, COMPACT_LOG_BYTES and COMPACT_POLL_S.

        Raises:
            SettingsError: with everything that is wrong, at once.
        """
        reading = _Reading(environ)
        kafka, lane, store = reading.kafka(), reading.lane(), reading.store()
        at = environ.get("FRESHLENS_COMPACT_AT") or "03:00"
        if at != "never" and not _TIME_OF_DAY.fullmatch(at):
            reading.problems.append(f"FRESHLENS_COMPACT_AT={at!r} must be HH:MM, or never")
        records_max = reading.integer("FRESHLENS_COMPACT_RECORDS", 50_000, 1, 1 << 40)
        log_bytes_max = reading.integer("FRESHLENS_COMPACT_LOG_BYTES", 1 << 30, 1, 1 << 60)
        poll_s = reading.seconds("FRESHLENS_COMPACT_POLL_S", 10.0)
        reading.finish()
        assert kafka is not None
        assert lane is not None
        return CompactorSettings(
            kafka=kafka,
            lane=lane,
            store=store,
            at=None if at == "never" else at,
            records_max=records_max,
            log_bytes_max=log_bytes_max,
            poll_s=poll_s,
        )


class _Reading:
    """Collects every problem of one environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def kafka(self) -> KafkaSettings | None:
        try:
            return KafkaSettings.from_env(self._environ)
        except SettingsError as error:
            self.problems += error.problems
            return None

    def lane(self) -> Lane | None:
        try:
            return Lane.from_env(self._environ)
        except SettingsError as error:
            self.problems += error.problems
            return None

    def store(self) -> str:
        return (
            self._environ.get("FRESHLENS_STORE") or f"file://{self._environ.get('FRESHLENS_DATA', '.freshlens')}/store"
        )

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        text = self._environ.get(name) or str(default)
        if text.isdecimal() and least <= int(text) <= most:
            return int(text)
        self.problems.append(f"{name}={text!r} must be a whole number from {least} to {most}")
        return default

    def seconds(self, name: str, default: float) -> float:
        text = self._environ.get(name) or str(default)
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < 1e6:
            self.problems.append(f"{name}={text!r} must be seconds greater than 0")
        return value

    def finish(self) -> None:
        if self.problems:
            raise SettingsError(self.problems)
