"""Reading a stretch of a topic from beginning to end, once."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

from confluent_kafka import KafkaError, Message, TopicPartition

from schemas.errors import BrokerUnavailable
from topics import clients
from topics.settings import KafkaSettings

Progress = Callable[[int, int], object]
"""Told of records done and records in all."""

_SILENCE_S_MAX = 30.0


def records(
    kafka: KafkaSettings, topic: str, starts: Mapping[int, int], ends: Mapping[int, int], progress: Progress
) -> Iterator[Message]:
    """Every record of ``topic`` (its name on the cluster) from ``starts`` up to ``ends``, in no order among partitions.

    Raises:
        BrokerUnavailable: nothing came for 30 s; run again. LogChanged: the log is not the one of the offsets.
    """
    positions = {partition: starts[partition] for partition, end in ends.items() if starts[partition] < end}
    total = sum(ends[partition] - start for partition, start in positions.items())
    left = total
    # The end of a partition is told, since the last offsets below ``ends`` may hold no record (transactions).
    with closing(clients.consumer(kafka, enable_partition_eof=True)) as consumer:
        consumer.assign([TopicPartition(topic, partition, start) for partition, start in positions.items()])
        while left:
            message = consumer.poll(_SILENCE_S_MAX)
            if message is None:
                raise BrokerUnavailable(f"cannot read {topic} to its end: nothing came for {_SILENCE_S_MAX:.0f} s")
            is_record = _is_record(message, topic)
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            if is_record and offset < ends[partition]:
                yield message
            positions[partition] = min(ends[partition], offset + 1 if is_record else offset)
            left = sum(ends[each] - position for each, position in positions.items())
            progress(total - left, total)


def _is_record(message: Message, topic: str) -> bool:
    """False at the end of a partition; raises for a fault."""
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        raise clients.translated(error, f"read {topic}")
    return error is None
