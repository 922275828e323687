from dataclasses import replace

import pytest

from topics.administration import ExistingTopic
from topics.declarations import DAY_MS, TOMBSTONE_MS, TOPICS
from topics.verification import differences, tombstone_ms_needed, verify

WANTED = {f"x.{name}": topic for name, topic in TOPICS.items()}


def cluster(changed=None, **config):
    """The topics as declared, but for the settings (``_`` for ``.``) of ``changed``."""
    existing = {
        name: ExistingTopic(name, "id", topic.partitions, 1, topic.kafka_config()) for name, topic in WANTED.items()
    }
    if changed is not None:
        topic = existing[f"x.{changed}"]
        settings = {setting.replace("_", "."): str(value) for setting, value in config.items()}
        existing[topic.name] = replace(topic, config={**topic.config, **settings})
    return existing


def codes(existing):
    return [(finding.severity, finding.code, finding.topic) for finding in verify(WANTED, existing)]


def test_a_cluster_as_declared_has_no_findings():
    assert differences(WANTED, cluster()) == []
    assert codes(cluster()) == []


def test_what_differs_is_named_with_both_values():
    (difference,) = differences(WANTED, cluster("clicks", retention_ms=5))
    assert (difference.topic, difference.setting) == ("x.clicks", "retention.ms")
    assert (difference.declared, difference.actual) == (str(30 * DAY_MS), "5")


@pytest.mark.parametrize(
    ("topic", "config", "severity", "code"),
    [
        ("index-log", {"cleanup_policy": "compact"}, "error", "compacted"),
        ("dead-letters", {"cleanup_policy": "compact,delete"}, "error", "compacted"),
        ("index-log", {"retention_ms": DAY_MS}, "error", "log-retention"),
        ("index-log", {"retention_bytes": 10}, "error", "log-retention"),
        ("clicks", {"message_timestamp_type": "CreateTime"}, "error", "create-time"),
        ("clicks", {"max_message_bytes": 10}, "warning", "config-drift"),
        ("product-deleted", {"retention_ms": 8 * DAY_MS - 1}, "error", "retention-relation"),
        ("product-added", {"retention_ms": -1}, "error", "retention-relation"),
        ("product-added", {"segment_ms": 7 * DAY_MS}, "error", "retention-relation"),
        ("product-added", {"segment_ms": DAY_MS + 1}, "error", "segment-time"),
        ("product-added-hot", {"retention_ms": -1}, "error", "retention-relation"),
        ("product-added-hot", {"segment_ms": DAY_MS + 1}, "error", "segment-time"),
        ("dead-letters", {"retention_ms": 33 * DAY_MS}, "error", "tombstone-horizon"),
        ("dead-letters", {"retention_ms": -1}, "error", "tombstone-horizon"),
    ],
)
def test_a_setting_that_harms_is_found(topic, config, severity, code):
    assert (severity, code) in {found[:2] for found in codes(cluster(topic, **config))}


@pytest.mark.parametrize(
    ("topic", "config"),
    [
        ("product-deleted", {"retention_ms": 8 * DAY_MS}),
        ("product-deleted", {"retention_ms": -1}),
        ("dead-letters", {"retention_ms": 32 * DAY_MS}),
    ],
)
def test_a_relation_that_still_holds_is_only_drift(topic, config):
    assert codes(cluster(topic, **config)) == [("warning", "config-drift", f"x.{topic}")]


def test_more_partitions_are_an_error_only_on_the_index_log():
    existing = cluster()
    for name in ("x.index-log", "x.product-added"):
        existing[name] = replace(existing[name], partitions=16)
    assert codes(existing) == [
        ("error", "partition-count-changed", "x.index-log"),
        ("warning", "partition-count", "x.product-added"),
    ]


def test_a_missing_topic_is_an_error():
    existing = cluster()
    del existing["x.product-added"]
    assert codes(existing) == [("error", "topic-missing", "x.product-added")]


def test_three_replicas_must_be_confirmed_by_two():
    existing = cluster("index-log", min_insync_replicas=1)
    existing["x.index-log"] = replace(existing["x.index-log"], replicas=3)
    assert codes(existing) == [("error", "min-insync-replicas", "x.index-log")]


def test_tombstones_outlive_what_can_be_redelivered():
    added, dead = TOPICS["product-added"].retention_ms, TOPICS["dead-letters"].retention_ms
    assert tombstone_ms_needed(added, dead) == 44 * DAY_MS <= TOMBSTONE_MS
    assert tombstone_ms_needed(-1, dead) == tombstone_ms_needed(added, -1) == -1


def test_a_compactor_that_forgets_deletions_sooner_is_found():
    found = verify(WANTED, cluster(), tombstone_ms=TOMBSTONE_MS - 3 * DAY_MS)
    assert [(finding.code, finding.topic) for finding in found] == [
        ("tombstone-horizon", "x.product-added"),
        ("tombstone-horizon", "x.product-added-hot"),
    ]
