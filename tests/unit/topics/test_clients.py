from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from schemas.errors import (
    Backpressure,
    BrokerUnavailable,
    FreshlensError,
    InvalidRecord,
    LogChanged,
    SettingsError,
)
from topics import clients
from topics.settings import KafkaSettings

NOWHERE = KafkaSettings("127.0.0.1:1")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (KafkaError._ALL_BROKERS_DOWN, BrokerUnavailable),
        (KafkaError._TIMED_OUT, BrokerUnavailable),
        (KafkaError.NOT_LEADER_FOR_PARTITION, BrokerUnavailable),
        (KafkaError.SASL_AUTHENTICATION_FAILED, SettingsError),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, SettingsError),
        (KafkaError._NOENT, BrokerUnavailable),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, SettingsError),
        (KafkaError._AUTO_OFFSET_RESET, LogChanged),
        (KafkaError.OFFSET_OUT_OF_RANGE, LogChanged),
        (KafkaError.MSG_SIZE_TOO_LARGE, InvalidRecord),
        (KafkaError._QUEUE_FULL, Backpressure),
        (KafkaError._FATAL, BrokerUnavailable),
        (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, BrokerUnavailable),
        (KafkaError.INVALID_CONFIG, FreshlensError),
    ],
)
def test_every_error_says_what_to_do_about_it(code, expected):
    with pytest.raises(FreshlensError, match="cannot read the log") as raised, clients.kafka_errors("read the log"):
        raise KafkaException(KafkaError(code))
    assert type(raised.value) is expected


def test_a_full_queue_is_backpressure():
    producer = clients.producer(NOWHERE, queue_buffering_max_messages=1)
    producer.produce("t", b"1")
    with pytest.raises(Backpressure), clients.kafka_errors("publish"):
        producer.produce("t", b"2")
    producer.purge()


def test_the_clients_accept_their_settings_and_overrides():
    consumer = clients.consumer(NOWHERE, fetch_wait_max_ms=5, enable_partition_eof=True)
    consumer.assign([TopicPartition("t", 0, 5)])
    consumer.close()
    clients.admin(NOWHERE)
    with pytest.raises(KafkaException, match="No such configuration"):
        clients.producer(NOWHERE, not_a_setting=1)


@pytest.mark.parametrize(
    ("error", "offset", "refused"),
    [
        (None, 0, None),
        (None, None, BrokerUnavailable),
        (KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), None, InvalidRecord),
    ],
)
def test_only_what_has_an_offset_is_in_its_topic(
    error: KafkaError | None, offset: int | None, refused: type[FreshlensError] | None
) -> None:
    message = SimpleNamespace(offset=lambda: offset)
    said = clients.refusal(error, message, "publish")  # type: ignore[arg-type]
    assert type(said) is (refused or type(None))
