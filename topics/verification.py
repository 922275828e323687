"""What differs between the declared topics and a cluster, and what that would do to us. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from topics.administration import ExistingTopic
from topics.declarations import (
    ADDS,
    DAY_MS,
    DEAD_LETTERS,
    FOREVER_MS,
    INDEX_LOG,
    LATENESS_MS,
    PRODUCT_DELETED,
    TOMBSTONE_MS,
    Topic,
)

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting of one topic that is not as declared."""

    topic: str
    """The name on the cluster."""
    setting: str
    """A Kafka setting, ``partitions``, or ``exists``."""
    declared: str
    actual: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the topics of a cluster that an operator should know; an error makes verify fail."""

    severity: Severity
    code: str
    topic: str
    message: str


def differences(wanted: Mapping[str, Topic], existing: Mapping[str, ExistingTopic]) -> list[Difference]:
    """Everything that is not as declared; both mappings are by the name on the cluster."""
    found = []
    for name, topic in wanted.items():
        actual = existing.get(name)
        if actual is None:
            found.append(Difference(name, "exists", "yes", "no"))
            continue
        if actual.partitions != topic.partitions:
            found.append(Difference(name, "partitions", str(topic.partitions), str(actual.partitions)))
        found += [
            Difference(name, setting, value, actual.config.get(setting, ""))
            for setting, value in topic.kafka_config().items()
            if actual.config.get(setting) != value
        ]
    return found


def verify(
    wanted: Mapping[str, Topic], existing: Mapping[str, ExistingTopic], tombstone_ms: int = TOMBSTONE_MS
) -> list[Finding]:
    """What the differences mean, the relations between retentions, and how writes are confirmed.

    ``tombstone_ms``: how long the compactor remembers deletions, FRESHLENS_TOMBSTONE_DAYS.
    """
    findings = [_meaning(difference, wanted[difference.topic]) for difference in differences(wanted, existing)]
    for name in wanted.keys() & existing.keys():
        findings += _replication_findings(existing[name])
    by_logical_name = {wanted[name].name: topic for name, topic in existing.items()}
    findings += _retention_findings(by_logical_name, tombstone_ms)
    return sorted(findings, key=lambda finding: (finding.severity, finding.topic, finding.code))


def tombstone_ms_needed(added_ms: int, dead_letters_ms: int, lateness_ms: int = LATENESS_MS) -> int:
    """How long a tombstone must live so that no redelivered event outlives it; -1 is for ever."""
    if FOREVER_MS in (added_ms, dead_letters_ms):
        return FOREVER_MS
    return added_ms + dead_letters_ms + lateness_ms


def _meaning(difference: Difference, topic: Topic) -> Finding:
    name, setting, actual = difference.topic, difference.setting, difference.actual
    if setting == "exists":
        return Finding("error", "topic-missing", name, "does not exist: run `freshlens topics create`")
    if setting == "partitions":
        return _partitions_finding(difference, topic)
    if setting == "cleanup.policy" and topic.versioned and "compact" in actual:
        message = "is compacted, which keeps the last record of a key, not its highest version: deleted products return"
        return Finding("error", "compacted", name, message)
    if setting == "message.timestamp.type":
        message = "keeps the producers' timestamps: retention removes old ones before they are read; set LogAppendTime"
        return Finding("error", "create-time", name, message)
    if topic.name == INDEX_LOG and setting in ("retention.ms", "retention.bytes"):
        message = f"has {setting}={actual}: Kafka removes records that no generation holds yet; set -1"
        return Finding("error", "log-retention", name, message)
    message = f"has {setting}={actual or 'unset'}, declared is {difference.declared}"
    return Finding("warning", "config-drift", name, message)


def _partitions_finding(difference: Difference, topic: Topic) -> Finding:
    message = f"has {difference.actual} partitions, the layout says {difference.declared}"
    if topic.name == INDEX_LOG:
        return Finding("error", "partition-count-changed", difference.topic, f"{message}: never alter it")
    return Finding("warning", "partition-count", difference.topic, f"{message}; harmless")


def _replication_findings(topic: ExistingTopic) -> list[Finding]:
    if topic.replicas >= 3 and int(topic.config.get("min.insync.replicas", "1")) < 2:
        message = "has 3 replicas, but one of them confirms a write: set min.insync.replicas=2"
        return [Finding("error", "min-insync-replicas", topic.name, message)]
    return []


def _retention_findings(topics: Mapping[str, ExistingTopic], tombstone_ms: int) -> list[Finding]:
    """The relations without which a redelivered add could outlive its delete."""
    if not {PRODUCT_DELETED, DEAD_LETTERS} <= topics.keys():
        return []
    deleted, dead = topics[PRODUCT_DELETED], topics[DEAD_LETTERS]
    adds = [topics[name] for name in ADDS if name in topics]
    findings = [_segment_finding(topic) for topic in (*adds, deleted) if _setting(topic, "segment.ms") > DAY_MS]
    for added in adds:
        findings += [*_deleted_outlives_added(added, deleted), *_tombstones_outlive(added, dead, tombstone_ms)]
    return findings


def _deleted_outlives_added(added: ExistingTopic, deleted: ExistingTopic) -> list[Finding]:
    lives_ms, retained_ms = _setting(added, "retention.ms"), _setting(deleted, "retention.ms")
    if retained_ms == FOREVER_MS:
        return []
    if lives_ms != FOREVER_MS:
        lives_ms += _setting(added, "segment.ms")
        if retained_ms >= lives_ms:
            return []
    message = f"keeps deletes {_days(retained_ms)}, adds live {_days(lives_ms)}: a re-read would revive products"
    return [Finding("error", "retention-relation", deleted.name, message)]


def _tombstones_outlive(added: ExistingTopic, dead: ExistingTopic, tombstone_ms: int) -> list[Finding]:
    needed_ms = tombstone_ms_needed(_setting(added, "retention.ms"), _setting(dead, "retention.ms"))
    if needed_ms != FOREVER_MS and needed_ms <= tombstone_ms:
        return []
    message = f"with {dead.name} asks for tombstones of {_days(needed_ms)}; they are kept {_days(tombstone_ms)}"
    return [Finding("error", "tombstone-horizon", added.name, message)]


def _segment_finding(topic: ExistingTopic) -> Finding:
    message = f"has segment.ms={_setting(topic, 'segment.ms')}: at most a day, or records outlive their retention"
    return Finding("error", "segment-time", topic.name, message)


def _setting(topic: ExistingTopic, name: str) -> int:
    return int(topic.config[name])


def _days(duration_ms: int) -> str:
    return "for ever" if duration_ms == FOREVER_MS else f"{duration_ms / DAY_MS:g} d"
