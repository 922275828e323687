"""A producer that outlives the failures that confluent-kafka's own does not."""

import threading
from collections.abc import Callable
from time import monotonic

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

REPLACE_EVERY_S = 1.0
_REPORTED_WITHIN_S = 1.0
_log = structlog.get_logger()

OnDelivery = Callable[[KafkaError | None, Message], None]


class LastingProducer:
    """confluent-kafka's Producer, which gives way to a new one when it has failed for good.

    An idempotent producer does where a broker has lost what it had confirmed, and takes nothing from then on. What it
    had in hand is then reported as not delivered, with an error that :func:`topics.clients.translated` has as
    BrokerUnavailable: whoever sends it again reaches the new one. The change is made by :meth:`poll` and :meth:`flush`.
    """

    def __init__(self, make: Callable[[], Producer]) -> None:
        self._make, self._producer = make, make()
        self._producing = threading.Lock()
        self._has_failed, self._replaced_at = False, -REPLACE_EVERY_S

    def produce(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int = -1,
        *,
        timestamp: int = 0,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        """As of confluent-kafka; ``timestamp`` in milliseconds, 0: now.

        Raises:
            KafkaException, BufferError: as there.
        """
        with self._producing:
            self._producer.produce(topic, value, key, partition, on_delivery=on_delivery, timestamp=timestamp)

    def poll(self, timeout_s: float) -> None:
        """Report what was delivered, after at most this time."""
        self._serve(lambda producer: producer.poll(timeout_s))

    def flush(self, timeout_s: float = -1) -> int:
        """Wait until all is reported, at most this time (negative: however long); returns how many are not."""
        self._serve(lambda producer: producer.flush(timeout_s))
        return len(self._producer)

    def purge(self) -> None:
        """Give up what is not delivered yet; the next :meth:`flush` reports it."""
        self._producer.purge()

    def _serve(self, wait: Callable[[Producer], int]) -> None:
        try:
            wait(self._producer)
        except KafkaException as error:  # raised once
            _log.error("a producer failed for good, another takes its place", reason=error.args[0].str())
            self._has_failed = True
        if self._has_failed and monotonic() - self._replaced_at >= REPLACE_EVERY_S:
            self._replace()

    def _replace(self) -> None:
        failed, fresh = self._producer, self._make()
        with self._producing:  # what was taken until here is purged
            self._producer = fresh
        self._has_failed, self._replaced_at = False, monotonic()
        failed.purge()
        failed.flush(_REPORTED_WITHIN_S)
