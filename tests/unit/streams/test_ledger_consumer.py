"""A consumer apart from Faust's, on a client that says what the test wants."""

from collections import deque
from collections.abc import Callable
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from schemas.metrics import NullMetrics
from streams import ledger_consumer
from streams.emitting import Finisher
from streams.ledger import AckLedger, Place
from streams.ledger_consumer import LedgerConsumer
from topics import clients
from topics.settings import KafkaSettings

KAFKA = KafkaSettings("127.0.0.1:9")
RETRY = "product-retry"
Rebalance = Callable[["Client", list[TopicPartition]], None]


class Client:
    """Is assigned two partitions at its first poll; ``refusals`` are what is wrong with one of them, time after time.

    It goes on saying so until it is asked for the topic's state.
    """

    def __init__(self, *refusals: KafkaException) -> None:
        self.assigned = list[list[tuple[int, int]]]()
        self._refusals, self._remembered = deque(refusals), next(iter(refusals), None)
        self._due: list[TopicPartition] = [TopicPartition(RETRY, 0), TopicPartition(RETRY, 1)]

    def subscribe(self, _topics: list[str], *, on_assign: Rebalance, on_revoke: Rebalance, on_lost: Rebalance) -> None:
        self._on_assign, self._on_lost = on_assign, on_lost

    def poll(self, _timeout: float) -> None:
        due, self._due = self._due, []
        if due:
            self._on_assign(self, due)

    def lose(self) -> None:
        self._on_lost(self, [TopicPartition(RETRY, 0), TopicPartition(RETRY, 1)])

    def list_topics(self, _topic: str, *, timeout: float) -> None:
        self._remembered = self._refusals.popleft() if self._refusals else None

    def committed(self, partitions: list[TopicPartition], *, timeout: float) -> list[TopicPartition]:
        return [TopicPartition(each.topic, each.partition, 5) for each in partitions]

    def get_watermark_offsets(self, partition: TopicPartition, *, timeout: float) -> tuple[int, int]:
        if partition.partition == 1 and self._remembered is not None:
            raise self._remembered
        return (7 * partition.partition, 9)

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned.append([(each.partition, each.offset) for each in partitions])

    def commit(self, **_: object) -> None:
        pass

    def close(self) -> None:
        pass


class Told:
    """A finisher that is told where partitions begin."""

    def __init__(self) -> None:
        self.began = list[dict[Place, int]]()

    async def on_begin(self, began: dict[Place, int]) -> None:
        self.began.append(began)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[Client, Told, AckLedger], LedgerConsumer]:
    monkeypatch.setattr(ledger_consumer, "_BEGIN_EVERY_S", 0.0)

    def on(client: Client, told: Told, ledger: AckLedger) -> LedgerConsumer:
        monkeypatch.setattr(clients, "consumer", lambda *_, **__: client)
        return LedgerConsumer(KAFKA, RETRY, "retries", 0, ledger, cast("Finisher", told), NullMetrics())

    return on


Reading = Callable[[Client, Told, AckLedger], LedgerConsumer]


async def test_where_it_cannot_be_asked_where_to_begin_it_is_asked_again_and_nothing_is_read_meanwhile(
    reading: Reading,
) -> None:
    refusals = KafkaError._UNKNOWN_PARTITION, KafkaError._TRANSPORT
    client, told, ledger = Client(*(KafkaException(KafkaError(code)) for code in refusals)), Told(), AckLedger()
    consumer = reading(client, told, ledger)
    async with consumer.subscribed():
        for _ in range(3):
            await consumer.polled()
            assert (client.assigned, ledger.places) == ([[]], ())
        await consumer.polled()
        assert client.assigned == [[], [(0, 5), (1, 7)]]
        assert told.began == [{Place(RETRY, 0): 5, Place(RETRY, 1): 7}]
        assert [ledger.next_offset(place) for place in ledger.places] == [5, 7]


async def test_what_was_lost_before_it_could_be_begun_is_not_begun(reading: Reading) -> None:
    client, told, ledger = Client(), Told(), AckLedger()
    consumer = reading(client, told, ledger)
    async with consumer.subscribed():
        await consumer.polled()
        client.poll = lambda _timeout: None  # type: ignore[method-assign]
        await consumer._in_thread(client.lose)
        await consumer.polled()
    assert (client.assigned, told.began) == ([[]], [])
