from dataclasses import replace
from importlib import resources

import pytest

from schemas.layout import Layout
from topics import declarations as topics


def test_every_name_is_declared_once_and_has_a_schema():
    names = {
        "product-added", "product-added-hot", "product-deleted", "index-log", "index-progress", "node-status",
        "product-retry", "searches", "clicks", "search-quality", "training-pairs", "dead-letters",
    }  # fmt: skip
    assert set(topics.TOPICS) == names
    for topic in topics.TOPICS.values():
        assert (resources.files("schemas") / f"{topic.schema}.avsc").is_file(), topic.name
        assert topic.producers
        assert topic.consumers


def test_every_topic_uses_the_brokers_clock_and_refuses_unclean_leaders():
    for topic in topics.TOPICS.values():
        config = topic.kafka_config()
        assert config["message.timestamp.type"] == "LogAppendTime"
        assert config["unclean.leader.election.enable"] == "false"


def test_only_node_status_is_compacted():
    compacted = {topic.name for topic in topics.TOPICS.values() if topic.cleanup == "compact"}
    assert compacted == {"node-status"}


def test_a_versioned_topic_cannot_be_declared_compacted():
    with pytest.raises(AssertionError):
        replace(topics.TOPICS["index-log"], cleanup="compact")


def test_the_index_log_is_kept_for_ever_in_the_partitions_of_the_layout():
    log = topics.declared(Layout(partitions=3))["index-log"]
    assert log.partitions == 3
    assert log.kafka_config()["retention.ms"] == log.kafka_config()["retention.bytes"] == "-1"
    assert topics.TOPICS["index-log"].partitions == 8


def test_a_dead_letter_has_room_for_the_largest_input():
    largest = max(t.record_bytes_max for t in topics.TOPICS.values() if t.name != "dead-letters")
    assert topics.TOPICS["dead-letters"].record_bytes_max >= largest + 64 * 1024


@pytest.mark.parametrize(
    ("name", "lane", "expected"),
    [
        ("index-log", "main", "shop.index-log"),
        ("index-log", "large", "shop.index-log.large"),
        ("product-added", "large", "shop.product-added"),
    ],
)
def test_the_name_on_the_cluster_has_the_prefix_and_a_lane_of_its_own(name, lane, expected):
    assert topics.TOPICS[name].full_name("shop.", lane) == expected


def test_the_hot_lane_is_declared_as_the_lane_it_overtakes():
    added, hot = (topics.TOPICS[name] for name in topics.ADDS)
    assert replace(hot, name=added.name, description=added.description) == added
