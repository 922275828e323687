"""The outbox on a producer that says what the test wants."""

from collections import deque
from collections.abc import Callable
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.errors import InvalidRecord
from streams import outbox
from streams.outbox import Outbox
from topics import clients
from topics.producer import LastingProducer
from topics.settings import KafkaSettings

KAFKA = KafkaSettings.from_env({}, discovered="nowhere:1")
OnDelivery = Callable[[KafkaError | None, "Reported"], None]


class Reported:
    """A message as a report has it."""

    def __init__(self, offset: int | None) -> None:
        self._offset = offset

    def partition(self) -> int:
        return 3

    def offset(self) -> int | None:
        return self._offset


class ScriptedProducer:
    """Reports of each message what comes next in ``script``: its offset, None for no offset, or an error.

    At a KafkaException it has failed for good: it says so once, and reports nothing until it is purged.
    """

    def __init__(self, *script: int | KafkaError | KafkaException | None) -> None:
        self.script, self.produced = deque(script), list[bytes]()
        self._due: deque[OnDelivery] = deque()

    def produce(
        self, topic: str, value: bytes, key: bytes | None, partition: int, *, on_delivery: OnDelivery, **_: int
    ) -> None:
        self.produced.append(value)
        self._due.append(on_delivery)

    def poll(self, _timeout: float) -> None:
        while self._due:
            if not self.script:
                return
            said = self.script.popleft()
            if isinstance(said, KafkaException):
                raise said
            if isinstance(said, KafkaError):
                self._due.popleft()(said, Reported(None))
            else:
                self._due.popleft()(None, Reported(said))

    def purge(self) -> None:
        while self._due:
            self._due.popleft()(KafkaError(KafkaError._PURGE_INFLIGHT), Reported(None))

    def flush(self, _timeout: float) -> int:
        return 0

    def __len__(self) -> int:
        return len(self._due)


@pytest.fixture
def sending(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedProducer], Outbox]:
    monkeypatch.setattr(outbox, "_RETRY_S", 0.001)

    def on(producer: ScriptedProducer) -> Outbox:
        monkeypatch.setattr(clients, "producer", lambda _: producer)
        return Outbox(KAFKA)

    return on


async def test_a_confirmation_without_an_offset_is_none(sending: Callable[[ScriptedProducer], Outbox]) -> None:
    """As of the first record on a partition that has just come into being (KAFKA-15591)."""
    producer = ScriptedProducer(None, None, 7)
    box = sending(producer)
    assert await box.send("t", b"k", b"v") == (3, 7)
    assert producer.produced == [b"v"] * 3
    box.close()


async def test_what_is_refused_for_a_time_is_sent_again_and_what_is_refused_for_good_is_not(
    sending: Callable[[ScriptedProducer], Outbox],
) -> None:
    producer = ScriptedProducer(KafkaError(KafkaError._MSG_TIMED_OUT), 0, KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    box = sending(producer)
    assert await box.send("t", b"k", b"v") == (3, 0)
    with pytest.raises(InvalidRecord):
        await box.send("t", b"k", b"large")
    assert producer.produced == [b"v", b"v", b"large"]
    box.close()


async def test_what_a_producer_had_in_hand_when_it_failed_for_good_is_sent_by_the_next_one(
    sending: Callable[[ScriptedProducer], Outbox],
) -> None:
    failing = ScriptedProducer(KafkaException(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)))
    good = ScriptedProducer(5, 6)
    made = iter([failing, good])
    box = sending(cast("ScriptedProducer", LastingProducer(lambda: cast("Producer", next(made)))))
    assert await box.send("t", b"k", b"v") == (3, 5)
    assert await box.send("t", b"k", b"w") == (3, 6)
    assert (failing.produced, good.produced) == ([b"v"], [b"v", b"w"])
    box.close()
