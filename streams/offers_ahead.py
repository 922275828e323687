"""Prices behind a flood of pictures: read ahead, and put on index-log before their turn (HOLES 7).

A worker takes in what it has room for, and takes its time; what lies behind that waits in Kafka. While it is behind,
this reads on from there with a consumer of its own and emits the offers of events that have no content. Their turn
comes all the same, with the same record once more, which changes nothing: so there is nothing here to commit, to
remember or to lose.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import structlog
from confluent_kafka import Message, TopicPartition

from processors.added import DeclarationOf, Incoming, read
from schemas.errors import FreshlensError
from schemas.events import ProductAdded, Source
from schemas.framing import PRODUCT_ADDED, SchemaRegistry
from schemas.metrics import Metrics
from streams.intake import Intake
from streams.ledger import AckLedger, Place
from topics import clients
from topics.settings import KafkaSettings

_LOOK_EVERY_S = 0.05
_LINGER_S = 1.0
"""After a worker was behind: it is likely to be so again in a moment, and beginning anew costs more."""
_POLL_S = 0.1
_TAKE_MAX = 256
_READ_AHEAD_KIB = 16 * 1024
_log = structlog.get_logger()


class OffersAhead:
    """Follows one topic (by its logical name) beyond what ``ledger`` has delivered, while ``intake`` is behind.

    Blocking calls are made in one thread of its own; ledger, intake and ``emit`` are touched on the event loop alone.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        name: str,
        ledger: AckLedger,
        intake: Intake,
        emit: Callable[[Incoming], Awaitable[None]],
        *,
        declaration_of: DeclarationOf,
        registry: SchemaRegistry | None,
        metrics: Metrics,
    ) -> None:
        self._name, self._ledger, self._intake, self._emit = name, ledger, intake, emit
        self._declaration_of, self._registry, self._metrics = declaration_of, registry, metrics
        self._consumer = clients.consumer(kafka, queued_max_messages_kbytes=_READ_AHEAD_KIB)
        self._followed: set[Place] = set()
        self._read_to: dict[Place, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="offers-ahead") as thread:
            try:
                behind_at = -_LINGER_S
                while True:
                    behind_at = loop.time() if self._intake.is_behind else behind_at
                    beyond = self._beyond() if loop.time() - behind_at < _LINGER_S else {}
                    if beyond or self._followed:
                        found = await loop.run_in_executor(thread, self._offers, beyond)
                        await asyncio.gather(*map(self._emitted, found))
                    if not beyond:
                        await asyncio.sleep(_LOOK_EVERY_S)
            finally:
                await loop.run_in_executor(thread, self._consumer.close)

    def _beyond(self) -> dict[Place, int]:
        """The worker's partitions, and what it takes next of each."""
        nexts = {place: self._ledger.next_offset(place) for place in self._ledger.places}
        return {place: offset for place, offset in nexts.items() if offset is not None}

    async def _emitted(self, incoming: Incoming) -> None:
        try:
            await self._emit(incoming)
        except Exception as error:  # whatever it is, the worker meets it when the event's turn comes
            _log.debug("an offer waits for its turn", product=str(incoming.key), reason=str(error))
        else:
            self._metrics.count("freshlens_offers_ahead_total", topic=self._name)

    def _offers(self, beyond: Mapping[Place, int]) -> list[Incoming]:
        """Events without content among the next records, after at most a tenth of a second."""
        try:
            with clients.kafka_errors(f"read {self._name} ahead"):
                self._follow(beyond)
                first = self._consumer.poll(_POLL_S) if beyond else None
                messages = [] if first is None else [first, *self._consumer.consume(_TAKE_MAX, 0)]
        except FreshlensError as error:
            _log.warning("nothing is read ahead for now", topic=self._name, reason=error.message)
            return []
        return [incoming for message in messages if (incoming := self._offer(message)) is not None]

    def _follow(self, beyond: Mapping[Place, int]) -> None:
        """Go on where it was left, or from where the worker is by now."""
        overtaken = any(self._read_to.get(place, 0) < offset for place, offset in beyond.items())
        if self._followed == beyond.keys() and not overtaken:
            return
        for place, offset in beyond.items():
            self._read_to[place] = max(self._read_to.get(place, 0), offset)
        self._followed = set(beyond)
        self._consumer.assign([TopicPartition(*place, self._read_to[place]) for place in beyond])

    def _offer(self, message: Message) -> Incoming | None:
        """The event of a record that is an offer and nothing else."""
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if message.error() is not None or topic is None or partition is None or offset is None:
            self._followed, self._read_to = set(), {}  # that place is gone: go on from where the worker is
            return None
        self._read_to[Place(topic, partition)] = offset + 1
        key, value = message.key(), message.value()
        if isinstance(key, str) or not isinstance(value, bytes):
            return None
        try:
            if PRODUCT_ADDED.decode(value, ProductAdded, self._registry).content is not None:
                return None
            source = Source(self._name, partition, offset, message.timestamp()[1])
            return read(key, value, source, self._declaration_of, self._registry)
        except Exception:  # the same; were it to end the worker here, no dead letter would ever be written
            return None
