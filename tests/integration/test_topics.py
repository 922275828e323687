import time
from dataclasses import dataclass, replace

import pytest
from click.testing import CliRunner
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from freshlens.cli.topics import topics_group
from schemas.errors import BrokerUnavailable, LogChanged, SettingsError
from schemas.layout import Layout
from topics import administration, clients, verification
from topics.declarations import INPUT_BYTES_MAX
from topics.settings import KafkaSettings

LAYOUT = Layout()
YEAR_MS = 365 * 86_400_000


def found(admin, settings):
    wanted = administration.declared_by_full_name(settings, LAYOUT)
    return wanted, administration.existing_topics(admin, list(wanted))


def published(settings, topic, values, timestamp=0):
    producer = clients.producer(settings)
    for value in values:
        producer.produce(topic, value, partition=0, timestamp=timestamp)
    assert producer.flush(30) == 0


def read(settings, topic, start, count, timeout_s=10.0):
    """``count`` records of partition 0 from ``start`` on; whatever came in time."""
    consumer = clients.consumer(settings)
    consumer.assign([TopicPartition(topic, 0, start)])
    records, deadline = [], time.monotonic() + timeout_s
    try:
        while len(records) < count and time.monotonic() < deadline:
            record = consumer.poll(0.2)
            if record is not None:
                if record.error():
                    raise clients.translated(record.error(), "read")
                records.append(record)
    finally:
        consumer.close()
    return records


def altered(admin, topic, setting, value):
    entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result()


def recreated(admin, settings, topic):
    admin.delete_topics([topic], operation_timeout=10)[topic].result()
    deadline = time.monotonic() + 10
    while topic in administration.existing_topics(admin, [topic]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    administration.create_topics(admin, settings, LAYOUT)


def test_what_was_created_is_as_declared_and_creating_again_does_nothing(kafka_settings, admin):
    wanted, existing = found(admin, kafka_settings)
    assert verification.differences(wanted, existing) == []
    assert verification.verify(wanted, existing) == []
    assert administration.create_topics(admin, kafka_settings, LAYOUT) == []


def test_verify_finds_compaction_and_altered_partitions_on_the_cluster(kafka_settings, admin):
    log = kafka_settings.topic("index-log")
    altered(admin, log, "cleanup.policy", "compact")
    admin.create_partitions([NewPartitions(log, 16)])[log].result()
    expected, codes, deadline = {"compacted", "partition-count-changed"}, set(), time.monotonic() + 10
    while codes != expected and time.monotonic() < deadline:  # a broker learns of it a moment later
        codes = {finding.code for finding in verification.verify(*found(admin, kafka_settings))}
    assert codes == expected
    assert administration.partition_count(admin, log) == 16


def test_an_event_with_an_old_timestamp_outlives_retention(kafka_settings, admin):
    # With the producer's time, Kafka's retention check would remove these within its next round.
    topic, before_ms = kafka_settings.topic("product-added"), time.time() * 1000
    published(kafka_settings, topic, [b"%d" % i for i in range(50)], timestamp=int(before_ms - 2 * YEAR_MS))
    records = read(kafka_settings, topic, 0, 50)
    assert [record.value() for record in records] == [b"%d" % i for i in range(50)]
    assert min(record.timestamp()[1] for record in records) >= before_ms - 60_000


def test_a_recreated_topic_is_another_log(kafka_settings, admin):
    log = kafka_settings.topic("index-log")
    first = administration.describe_log(admin, log)
    assert administration.describe_log(admin, log) == first
    published(kafka_settings, log, [b"x"] * 5)
    recreated(admin, kafka_settings, log)
    second = administration.describe_log(admin, log)
    assert second.cluster_id == first.cluster_id
    with pytest.raises(LogChanged):
        administration.check_position(
            topic=log,
            partition=0,
            expected=first,
            found=second,
            next_offset=0,
            log_start=administration.begin_offsets(admin, log)[0],
            log_end=administration.end_offsets(admin, log)[0],
        )


def test_offsets_move_with_what_is_written_and_removed(kafka_settings, admin):
    log = kafka_settings.topic("index-log")
    published(kafka_settings, log, [b"x"] * 10)
    assert administration.end_offsets(admin, log) == {0: 10, **dict.fromkeys(range(1, 8), 0)}
    assert administration.delete_records(admin, log, {0: 4}) == {0: 4}
    assert administration.begin_offsets(admin, log)[0] == 4


@pytest.mark.parametrize("start", [0, 11])
def test_a_reader_outside_the_log_is_stopped_rather_than_moved(kafka_settings, admin, start):
    log = kafka_settings.topic("index-log")
    published(kafka_settings, log, [b"x"] * 10)
    administration.delete_records(admin, log, {0: 4})
    with pytest.raises(LogChanged):
        read(kafka_settings, log, start, 1)


def test_the_largest_event_goes_through_and_a_larger_one_is_refused(kafka_settings, admin):
    topic = kafka_settings.topic("product-added")
    largest = bytes(range(256)) * ((INPUT_BYTES_MAX - 1024) // 256)
    published(kafka_settings, topic, [largest])
    assert read(kafka_settings, topic, 0, 1)[0].value() == largest

    refused = []
    producer = clients.producer(kafka_settings, compression_type="none")
    producer.produce(topic, bytes(INPUT_BYTES_MAX + 1), on_delivery=lambda error, _record: refused.append(error))
    producer.flush(30)
    assert clients.translated(refused[0], "publish").code == "invalid-record"


def test_a_reader_sees_a_record_at_once(kafka_settings):
    topic = kafka_settings.topic("index-log")
    consumer, producer = clients.consumer(kafka_settings), clients.producer(kafka_settings)
    consumer.assign([TopicPartition(topic, 0, 0)])
    delays = []
    for _ in range(60):
        start = time.monotonic()
        producer.produce(topic, b"x", partition=0)
        producer.poll(0)
        record = consumer.poll(10)
        assert record is not None
        assert record.error() is None
        delays.append(time.monotonic() - start)
        time.sleep(0.02)
    consumer.close()
    # The first ones wait for the producer's identity; the bound is loose for a busy machine.
    assert sorted(delays)[30] < 0.1


def test_a_topic_that_does_not_exist_says_how_to_create_it(kafka_settings, admin):
    with pytest.raises(SettingsError, match="topics create"):
        administration.describe_log(admin, "nowhere")


def test_no_broker_is_a_transient_error():
    admin = clients.admin(KafkaSettings("127.0.0.1:1"), socket_timeout_ms=500)
    with pytest.raises(BrokerUnavailable, match="KAFKA_BOOTSTRAP_SERVERS"):
        administration.cluster_id(admin, timeout_s=1.0)


@dataclass(frozen=True)
class At:
    """What the commands need of their context."""

    settings: KafkaSettings

    def kafka(self):
        return self.settings


def command(settings, *arguments):
    return CliRunner(env={"COLUMNS": "250"}).invoke(topics_group, arguments, obj=At(settings))


def test_the_commands_create_compare_and_check(kafka_settings, admin):
    new = replace(kafka_settings, topic_prefix=f"{kafka_settings.topic_prefix}cli-")
    missing = command(new, "verify")
    assert missing.exit_code == 1
    assert "topic-missing" in missing.output
    assert command(new, "diff").exit_code == 1

    assert "12 created, 0 already there" in command(new, "create").output
    assert "0 created, 12 already there" in command(new, "create").output
    assert "12 topics are as declared" in command(new, "diff").output
    verified = command(new, "verify")
    assert (verified.exit_code, verified.output) == (0, "12 topics checked: 0 errors, 0 warnings\n")
    listed = command(new, "list")
    assert listed.exit_code == 0
    assert new.topic("index-log") in listed.output

    assert command(new, "diff", "--partitions", "16").exit_code == 1
    assert command(new, "verify", "--partitions", "0").exit_code == 2
    admin.delete_topics(list(administration.declared_by_full_name(new, LAYOUT)))
