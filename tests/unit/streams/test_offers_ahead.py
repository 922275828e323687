"""What is read ahead of its turn, and that nothing which goes wrong there ends the worker."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import TopicPartition

from processors.added import Incoming
from schemas.events import Content, Offer, ProductAdded
from schemas.framing import PRODUCT_ADDED
from schemas.metrics import RecordingMetrics
from schemas.tenants import TenantDeclaration
from streams import offers_ahead
from streams.intake import Intake
from streams.ledger import AckLedger, Place
from streams.offers_ahead import OffersAhead
from topics.settings import KafkaSettings

TOPIC = "product-added"
PRICE = Offer(price=1.0)


class Message:
    """A record as confluent-kafka hands it over."""

    def __init__(self, offset: int, value: bytes | None) -> None:
        self._offset, self._value = offset, value

    def error(self) -> None: ...
    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> None: ...
    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_000


class Log:
    """A consumer of one partition."""

    def __init__(self, values: list[bytes | None]) -> None:
        self._values, self._next = values, 0
        self.assigned: list[list[tuple[int, int]]] = []

    def assign(self, places: list[TopicPartition]) -> None:
        self.assigned.append([(place.partition, place.offset) for place in places])
        self._next = places[0].offset if places else self._next

    def poll(self, _: float) -> Message | None:
        if self._next == len(self._values):
            return None
        self._next += 1
        return Message(self._next - 1, self._values[self._next - 1])

    def consume(self, *_: Any) -> list[Message]:
        return []

    def close(self) -> None: ...


def declaration_of(tenant: str) -> TenantDeclaration:
    if tenant == "broken":
        raise RuntimeError("our own fault")
    return TenantDeclaration(tenant)


def added(product_id: str, tenant: str = "shop", content: Content | None = None) -> bytes:
    return PRODUCT_ADDED.encode(ProductAdded(tenant, product_id, content=content, offer=PRICE))


async def test_offers_alone_are_emitted_and_whatever_fails_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(
        [
            added("delivered"),
            added("first"),
            added("with-content", content=Content(title="t")),
            b"garbage",
            None,
            added("p", tenant="broken"),
            added("refused"),
            added("last"),
        ]
    )
    monkeypatch.setattr(offers_ahead.clients, "consumer", lambda *_, **__: log)
    ledger, metrics, emitted, done = AckLedger(), RecordingMetrics(), list[str](), asyncio.Event()
    ledger.begin(Place(TOPIC, 0), 0)
    ledger.deliver(Place(TOPIC, 0), 0)

    async def emit(incoming: Incoming) -> None:
        if incoming.key.product_id == "refused":
            raise RuntimeError("our own fault")
        emitted.append(incoming.key.product_id)
        if incoming.key.product_id == "last":
            done.set()

    ahead = OffersAhead(
        KafkaSettings("127.0.0.1:1"),
        TOPIC,
        ledger,
        cast("Intake", SimpleNamespace(is_behind=True)),
        emit,
        declaration_of=declaration_of,
        registry=None,
        metrics=metrics,
    )
    running = asyncio.create_task(ahead.run())
    async with asyncio.timeout(20):
        await done.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert emitted == ["first", "last"]
    assert log.assigned == [[(0, 1)]], "from what is delivered next, and once"
    assert metrics.values["freshlens_offers_ahead_total", (("topic", TOPIC),)] == 2
