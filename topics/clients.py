"""The confluent-kafka clients that everything but Faust uses, and Kafka's errors in our words."""

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from schemas.errors import (
    Backpressure,
    BrokerUnavailable,
    FreshlensError,
    InvalidRecord,
    LogChanged,
    SettingsError,
)
from topics.declarations import MESSAGE_BYTES_MAX
from topics.producer import LastingProducer
from topics.settings import KafkaSettings, Setting

_BATCH_OVERHEAD_BYTES = 1024
DELIVERED_WITHIN_S = 120
"""A record is confirmed within this time, or has failed."""
_PRODUCER: dict[str, Setting] = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 2,
    # Of the codecs the one that aiokafka (within Faust) reads without a further library.
    "compression.type": "lz4",
    "message.max.bytes": MESSAGE_BYTES_MAX + _BATCH_OVERHEAD_BYTES,
    # Beyond these produce() raises BufferError: the caller's backpressure.
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 128 * 1024,
    "delivery.timeout.ms": DELIVERED_WITHIN_S * 1000,
}
_CONSUMER: dict[str, Setting] = {
    # Another log than the one our offsets belong to must stop us, not be read from its beginning.
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # A fetch is answered as soon as there is a byte, so the wait costs no latency, only empty answers when idle.
    "fetch.min.bytes": 1,
    "fetch.wait.max.ms": 200,
    "fetch.queue.backoff.ms": 5,
    "fetch.message.max.bytes": MESSAGE_BYTES_MAX,
    "fetch.max.bytes": 2 * MESSAGE_BYTES_MAX,
    "message.max.bytes": MESSAGE_BYTES_MAX + _BATCH_OVERHEAD_BYTES,
    "queued.max.messages.kbytes": 64 * 1024,
}
_RECONNECT: dict[str, Setting] = {
    # A broker that was restarted is found again within half a second.
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 500,
    # A line per lost connection on stderr says nothing that the calls do not say themselves.
    "log_level": 2,
}
_UNAVAILABLE = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._MSG_TIMED_OUT,
    KafkaError._PURGE_INFLIGHT,
    KafkaError._PURGE_QUEUE,
    KafkaError._NOENT,  # of partitions that have no leader yet
    KafkaError._RESOLVE,
    KafkaError._WAIT_COORD,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.NOT_CONTROLLER,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
}
_PRODUCER_FAILED = {
    KafkaError._FATAL,
    KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
    KafkaError.UNKNOWN_PRODUCER_ID,
    KafkaError.INVALID_PRODUCER_EPOCH,
}
_REFUSED = {
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
}
_MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}


def producer(settings: KafkaSettings, **over: Setting) -> LastingProducer:
    """An idempotent producer with acks=all.

    ``over``: further librdkafka settings, with ``_`` for ``.`` (``linger_ms=0``).
    """
    return LastingProducer(lambda: Producer({**settings.confluent(), **_RECONNECT, **_PRODUCER, **_dotted(over)}))


def consumer(settings: KafkaSettings, group: str | None = None, **over: Setting) -> Consumer:
    """A consumer for ``assign`` at explicit offsets: it commits nothing and never resets its position.

    An assignment without an offset fails with ``log-changed`` on the first poll. ``group`` is the full name,
    for the few that do commit (by hand).
    """
    # librdkafka refuses a consumer without a group, even one that never joins it.
    identity: dict[str, Setting] = {"group.id": group or f"{settings.topic_prefix}freshlens-assigned"}
    return Consumer({**settings.confluent(), **_RECONNECT, **_CONSUMER, **identity, **_dotted(over)})


def admin(settings: KafkaSettings, **over: Setting) -> AdminClient:
    """The client of ``topics.administration``."""
    return AdminClient({**settings.confluent(), **_RECONNECT, **_dotted(over)})


def translated(error: KafkaError, doing: str) -> FreshlensError:
    """Kafka's error as the one of ours that says what to do about it; ``doing`` as in "create topics"."""
    code, said = error.code(), f"cannot {doing}: {error.str()}"
    if code in _REFUSED:
        return SettingsError(f"{said} (check KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_* and KAFKA_SSL_*, and the rights)")
    if code in _MISSING:
        return SettingsError(f"{said} (run `freshlens topics create`)")
    if code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        return LogChanged(f"{said}: the position does not exist in this log")
    if code == KafkaError.MSG_SIZE_TOO_LARGE:
        return InvalidRecord(said)
    if code == KafkaError._QUEUE_FULL:
        return Backpressure(said)
    if code in _PRODUCER_FAILED:
        return BrokerUnavailable(f"{said} (another producer takes this one's place: send it again)")
    if code in _UNAVAILABLE or error.retriable():
        return BrokerUnavailable(f"{said} (is a broker running at KAFKA_BOOTSTRAP_SERVERS?)")
    return FreshlensError(f"{said} ({error.name()})")


def refusal(error: KafkaError | None, message: Message, doing: str) -> FreshlensError | None:
    """Why a record of which a producer reports is not known to be in its topic; None: it is.

    A report without an error and without an offset says nothing of the kind: where a partition has just come into
    being, a broker may refuse a producer's first batch and take the second one (KAFKA-15591). The first can then not be
    written any more, and librdkafka reports it so. Such a record is to be sent again.
    """
    if error is not None:
        return translated(error, doing)
    if message.offset() is None:
        return BrokerUnavailable(f"cannot {doing}: it was confirmed without an offset, so it may not be there")
    return None


@contextmanager
def kafka_errors(doing: str) -> Iterator[None]:
    """Raise a KafkaException of the block as :func:`translated` has it, and a full queue as Backpressure."""
    try:
        yield
    except KafkaException as error:
        raise translated(error.args[0], doing) from error
    except BufferError as error:
        raise Backpressure(f"cannot {doing}: the producer's queue is full") from error


def _dotted(over: dict[str, Setting]) -> dict[str, Setting]:
    return {name.replace("_", "."): value for name, value in over.items()}
