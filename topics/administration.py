"""Topics as they are on a cluster: creating and describing them, the identity and the bounds of their logs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from schemas.errors import BrokerUnavailable, LogChanged, LogTruncated, SettingsError
from schemas.layout import Layout, LogId, NextOffset
from topics.clients import kafka_errors
from topics.declarations import Topic, declared
from topics.settings import KafkaSettings

_TIMEOUT_S = 30.0
_REPLICAS_WANTED = 3
_OTHER_LOG = "point to the right cluster, or remove the data directory to rebuild from this log"
_TRUNCATED = "restore a newer generation"
_until_led = retry(
    # For a moment after a topic was created or a broker has started, a partition is unknown or has no leader.
    retry=retry_if_exception_type((BrokerUnavailable, SettingsError)),
    stop=stop_after_delay(30),
    wait=wait_fixed(0.1),
    reraise=True,
)


@dataclass(frozen=True, slots=True)
class ExistingTopic:
    """A topic as it is on the cluster."""

    name: str
    topic_id: str
    partitions: int
    replicas: int
    config: Mapping[str, str]


def declared_by_full_name(settings: KafkaSettings, layout: Layout) -> dict[str, Topic]:
    """Every declared topic by its name on the cluster."""
    return {settings.topic(name): topic for name, topic in declared(layout).items()}


def cluster_id(admin: AdminClient, timeout_s: float = _TIMEOUT_S) -> str:
    """The identity of the cluster; raises BrokerUnavailable."""
    with kafka_errors("describe the cluster"):
        found: str = admin.describe_cluster(request_timeout=timeout_s).result().cluster_id
        return found


def describe_log(admin: AdminClient, topic: str) -> LogId:
    """The identity of the log that ``topic`` (its name on the cluster) has now.

    A topic that was deleted and created again has another one.

    Raises:
        SettingsError: there is no such topic; create it. BrokerUnavailable.
    """
    with kafka_errors(f"describe topic {topic}"):
        described = admin.describe_topics(TopicCollection([topic]), request_timeout=_TIMEOUT_S)
        return LogId(cluster_id(admin), str(described[topic].result().topic_id))


def partition_count(admin: AdminClient, topic: str) -> int:
    """How many partitions the topic has on the cluster; raises as :func:`describe_log`."""
    with kafka_errors(f"describe topic {topic}"):
        described = admin.describe_topics(TopicCollection([topic]), request_timeout=_TIMEOUT_S)
        return len(described[topic].result().partitions)


def begin_offsets(admin: AdminClient, topic: str) -> dict[int, NextOffset]:
    """By partition, the first offset that can still be read."""
    return _offsets(admin, topic, OffsetSpec.earliest())  # type: ignore[no-untyped-call]


def end_offsets(admin: AdminClient, topic: str) -> dict[int, NextOffset]:
    """By partition, one more than the last offset that a read-committed consumer can read now."""
    return _offsets(admin, topic, OffsetSpec.latest())  # type: ignore[no-untyped-call]


def offsets_at(admin: AdminClient, topic: str, time_ms: int) -> dict[int, NextOffset]:
    """Next offset of each partition at a broker time: the first record appended then or later, else the end."""
    found, end = _offsets(admin, topic, OffsetSpec.for_timestamp(time_ms)), end_offsets(admin, topic)
    return {partition: offset if offset >= 0 else end[partition] for partition, offset in found.items()}


def existing_topics(admin: AdminClient, names: Sequence[str]) -> dict[str, ExistingTopic]:
    """Those of ``names`` that exist, described."""
    with kafka_errors("describe topics"):
        described = {}
        futures = admin.describe_topics(TopicCollection(list(names)), request_timeout=_TIMEOUT_S)
        for name, future in futures.items():
            try:
                described[name] = future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
        configs = _configs(admin, list(described))
    return {
        name: ExistingTopic(
            name=name,
            topic_id=str(topic.topic_id),
            partitions=len(topic.partitions),
            replicas=min(len(partition.replicas) for partition in topic.partitions),
            config=configs[name],
        )
        for name, topic in described.items()
    }


def create_topics(admin: AdminClient, settings: KafkaSettings, layout: Layout) -> list[str]:
    """Create the declared topics that do not exist; existing ones are left as they are. Returns the new names.

    Three replicas where there are as many brokers, and then two of them must confirm a write.
    """
    wanted = declared_by_full_name(settings, layout)
    missing = sorted(wanted.keys() - existing_topics(admin, list(wanted)).keys())
    if not missing:
        return []
    created = _created(admin, {name: wanted[name] for name in missing})
    _wait_until_known(admin, missing)
    for name in missing:
        # Answered once every partition is served. Until then a producer's first records may be lost (clients.refusal).
        end_offsets(admin, name)
    return created


@_until_led
def delete_records(admin: AdminClient, topic: str, before: Mapping[int, NextOffset]) -> dict[int, NextOffset]:
    """Remove the records below the given offsets, for ever; returns the new first offsets."""
    with kafka_errors(f"delete records of {topic}"):
        requests = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
        futures = admin.delete_records(requests, operation_timeout=_TIMEOUT_S)
        return {partition.partition: NextOffset(future.result().low_watermark) for partition, future in futures.items()}


def check_position(
    *,
    topic: str,
    partition: int,
    expected: LogId,
    found: LogId,
    next_offset: NextOffset,
    log_start: NextOffset,
    log_end: NextOffset,
) -> None:
    """Do nothing if reading can go on at ``next_offset``, because the log is the same and still has it.

    Raises:
        LogChanged: another log under this name, or a position beyond its end.
        LogTruncated: the records at the position were removed.
    """
    where = f"{topic}[{partition}]"
    if expected != found:
        raise LogChanged(f"{where} is the log {found}, but the stored offsets are of the log {expected}: {_OTHER_LOG}")
    if next_offset > log_end:
        raise LogChanged(
            f"{where} ends at {log_end}, but we had read up to {next_offset}: records were lost; {_OTHER_LOG}"
        )
    if next_offset < log_start:
        raise LogTruncated(
            f"{where} begins at {log_start}, but we must go on at {next_offset}: "
            f"{log_start - next_offset} records were removed; {_TRUNCATED}"
        )


def _created(admin: AdminClient, missing: Mapping[str, Topic]) -> list[str]:
    with kafka_errors("create topics"):
        brokers = len(admin.describe_cluster(request_timeout=_TIMEOUT_S).result().nodes)
        replicas = min(_REPLICAS_WANTED, brokers)
        requests = [_new_topic(name, topic, replicas) for name, topic in missing.items()]
        created = []
        for name, future in admin.create_topics(requests, operation_timeout=_TIMEOUT_S).items():
            try:
                future.result()
                created.append(name)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
        return created


@_until_led
def _wait_until_known(admin: AdminClient, names: Sequence[str]) -> None:
    """A broker answers for a new topic only a moment after the controller has created it."""
    if unknown := set(names) - existing_topics(admin, names).keys():
        raise BrokerUnavailable(f"the broker does not know its new topics yet: {', '.join(sorted(unknown))}")


def _offsets(admin: AdminClient, topic: str, spec: OffsetSpec) -> dict[int, NextOffset]:
    partitions = range(partition_count(admin, topic))
    return _listed_offsets(admin, topic, {TopicPartition(topic, partition): spec for partition in partitions})


@_until_led
def _listed_offsets(admin: AdminClient, topic: str, asked: dict[TopicPartition, OffsetSpec]) -> dict[int, NextOffset]:
    with kafka_errors(f"list offsets of {topic}"):
        futures = admin.list_offsets(
            asked,
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=_TIMEOUT_S,
        )
        return {partition.partition: NextOffset(future.result().offset) for partition, future in futures.items()}


def _configs(admin: AdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    futures = admin.describe_configs(resources, request_timeout=_TIMEOUT_S)
    return {
        resource.name: {key: entry.value for key, entry in future.result().items()}
        for resource, future in futures.items()
    }


def _new_topic(name: str, topic: Topic, replicas: int) -> NewTopic:
    config = topic.kafka_config()
    if replicas >= _REPLICAS_WANTED:
        config["min.insync.replicas"] = "2"
    return NewTopic(name, num_partitions=topic.partitions, replication_factor=replicas, config=config)
