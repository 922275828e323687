"""Sending to Kafka and knowing that it arrived: nothing is finished before its effect is confirmed."""

import asyncio
import threading
from collections import deque
from typing import NamedTuple

import structlog
from confluent_kafka import KafkaError, Message

from schemas.errors import Backpressure, FreshlensError, TransientError
from topics import clients
from topics.settings import KafkaSettings

_RETRY_S = 0.2
_log = structlog.get_logger()


class _Report(NamedTuple):
    """What the broker said to one message; ``offset`` means nothing beside a refusal."""

    confirmed: "asyncio.Future[tuple[int, int]]"
    refused: FreshlensError | None
    partition: int
    offset: int


class Outbox:
    """One idempotent producer with acks=all for a worker; use it from one event loop, and close it at the end."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._producer = clients.producer(kafka)
        # Reports come by the hundred: the loop is woken once for all that are there, not once for each.
        self._reports: deque[_Report] = deque()
        self._is_settling = False
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="outbox", daemon=True)
        self._poller.start()

    async def send(self, topic: str, key: bytes | None, value: bytes, partition: int | None = None) -> tuple[int, int]:
        """Send until the broker has confirmed it; returns partition and offset.

        A broker that is away is waited for, however long: the event behind this stays unfinished.

        Args:
            topic: its name on the cluster.
            partition: None: by the key.

        Raises:
            InvalidRecord: larger than the topic takes. SettingsError: no such topic, or no right to it.
        """
        while True:
            try:
                return await self._send_once(topic, key, value, partition)
            except Backpressure:
                await asyncio.sleep(_RETRY_S)
            except TransientError as error:
                _log.warning("sending again", topic=topic, reason=error.message)
                await asyncio.sleep(_RETRY_S)

    def close(self) -> None:
        """Wait a moment for what is on its way, and stop."""
        self._producer.flush(2)
        self._closing.set()
        self._poller.join()

    async def _send_once(self, topic: str, key: bytes | None, value: bytes, partition: int | None) -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        confirmed: asyncio.Future[tuple[int, int]] = loop.create_future()

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            refused = clients.refusal(error, message, f"send to {topic}")
            self._reports.append(_Report(confirmed, refused, message.partition() or 0, message.offset() or 0))
            if not self._is_settling and not loop.is_closed():
                self._is_settling = True
                loop.call_soon_threadsafe(self._settle)

        with clients.kafka_errors(f"send to {topic}"):
            self._producer.produce(topic, value, key, -1 if partition is None else partition, on_delivery=on_delivery)
        return await confirmed

    def _settle(self) -> None:
        self._is_settling = False  # first, so that no report is left to nobody
        while self._reports:
            confirmed, refused, partition, offset = self._reports.popleft()
            if confirmed.done():
                continue
            if refused is None:
                confirmed.set_result((partition, offset))
            else:
                confirmed.set_exception(refused)

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.05)
