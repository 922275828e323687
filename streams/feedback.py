"""The feedback worker: searches and clicks in, search-quality and training-pairs out.

No state outlives the process. A record is acknowledged when its window is finished, so that a restart reads the
unfinished windows again and publishes them as they were (see ``processors.feedback.clicks`` for why that is exact). One
process does all of it: a window needs every search of its tenant.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import msgspec
import structlog

from processors.feedback.clicks import ClickJoin, Finished
from schemas import framing
from schemas.clock import Clock, SystemClock
from schemas.errors import FreshlensError, InvalidRecord, TransientError
from schemas.feedback import Click, Search
from schemas.metrics import Metrics
from streams.app import Received, WorkerApp, worker_app
from streams.dead_letters import DeadLetters
from streams.faults import FaultLimit, worker_name
from streams.ledger import Place, Ticket
from streams.outbox import Outbox
from streams.serving import check_topics, serve
from streams.settings import StreamsSettings
from streams.watch.watcher import Watcher
from topics.declarations import CLICKS, DEAD_LETTERS, SEARCH_QUALITY, SEARCHES, TRAINING_PAIRS
from topics.registry import open_registry
from topics.store import open_store

ROLE = "feedback"
_NICENESS = 10
"""Nobody waits for a click to be counted, and somebody for every search on the same cores."""
_POLL_PAUSE_S = 0.2
"""For the same reason: many records in one poll cost little more than one."""
_RETRY_S = 1.0
_log = structlog.get_logger()
_T = TypeVar("_T", bound=msgspec.Struct)


class _Outgoing(NamedTuple):
    topic: str
    key: bytes | None
    value: msgspec.Struct


class FeedbackWorker:
    """Wires :class:`processors.feedback.clicks.ClickJoin` to the topics."""

    def __init__(self, settings: StreamsSettings, metrics: Metrics, clock: Clock | None = None) -> None:
        self._kafka = settings.kafka
        self._metrics = metrics
        self._clock = clock or SystemClock()
        self._join: ClickJoin[Ticket] = ClickJoin(settings.quality.windows)
        self._outbox = Outbox(settings.kafka)
        store = open_store(settings.store)
        limit = FaultLimit(worker_name(settings.kafka, ROLE, settings.slot), ROLE, store, self._clock, metrics)
        self._letters = DeadLetters(settings.kafka, self._outbox, store, limit, self._clock, metrics)
        self._registry = open_registry(settings.kafka)
        self._unsent: list[_Outgoing] = []
        self._due: list[Ticket] = []
        self._publishing = asyncio.Lock()
        handlers = {SEARCHES: self._take_search, CLICKS: self._take_click}
        self.app: WorkerApp = worker_app(
            ROLE, settings.kafka, handlers, metrics=metrics, data=settings.data, poll_pause_s=_POLL_PAUSE_S
        )
        self.app.on_begin.append(self._begin_anew)
        self.app.timer(settings.quality.publish_every_s, name="publish-quality")(self.publish)

    def close(self) -> None:
        """Stop sending; what is not acknowledged is read again at the next start."""
        self._outbox.close()

    async def _begin_anew(self, _began: Mapping[Place, int]) -> None:
        """After a rebalance all that is unfinished comes again."""
        self._join.begin_anew()
        self._due = []
        # Pairs are made again of the searches that come again; of a window's counts nobody knows that.
        self._unsent = [record for record in self._unsent if record.topic == SEARCH_QUALITY]

    async def publish(self) -> None:
        """Send what changed; acknowledge the records of finished windows once the broker has confirmed."""
        async with self._publishing:
            for row in self._join.changed():
                key = f"{row.tenant}/{row.arm}/{row.window_start}".encode()
                self._unsent.append(_Outgoing(SEARCH_QUALITY, key, row))
            self._let_go(self._join.finish(self._clock.now_us()))
            sending, self._unsent = self._unsent, []
            due, self._due = self._due, []
            failed = [record for record in await asyncio.gather(*map(self._send, sending)) if record is not None]
            if failed:
                self._unsent, self._due = failed + self._unsent, due + self._due
            else:
                self._acknowledge(due)

    async def _take_search(self, received: Received) -> None:
        search = await self._decoded(received, framing.SEARCHES, Search)
        if search is not None:
            self._join.add_search(search, received.ticket, self._clock.now_us())
            await self._make_room()

    async def _take_click(self, received: Received) -> None:
        click = await self._decoded(received, framing.CLICKS, Click)
        if click is not None:
            self._join.add_click(click, received.ticket, self._clock.now_us())
            await self._make_room()

    async def _make_room(self) -> None:
        """Hold back the next record while too much is held."""
        if self._join.is_full:
            await self.publish()

    async def _decoded(self, received: Received, codec: framing.Codec, into: type[_T]) -> _T | None:
        """The record's value; None when it went to the dead letters instead."""
        raw = received.value or b""
        self._letters.limit.passed()
        while True:
            try:
                if codec.is_framed(raw):
                    return codec.decode(raw, into)
                return await asyncio.to_thread(codec.decode, raw, into, self._registry)
            except InvalidRecord as error:
                await self._bury(received, error)
                return None
            except TransientError as error:
                _log.warning("a record waits for the schema registry", reason=error.message)
                await asyncio.sleep(_RETRY_S)

    async def _bury(self, received: Received, invalid: InvalidRecord) -> None:
        while True:
            try:
                await self._letters.send(received.key, received.value, received.source, invalid)
            except (OSError, FreshlensError) as error:
                _log.warning("a dead letter is sent again later", reason=str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                self._due.append(received.ticket)
                return

    def _let_go(self, finished: Finished[Ticket]) -> None:
        self._due.extend(finished.receipts)
        self._unsent.extend(_Outgoing(TRAINING_PAIRS, pair.query_id.encode(), pair) for pair in finished.pairs)
        for reason, count in finished.dropped.items():
            self._metrics.count("freshlens_feedback_dropped_total", count, topic=CLICKS, reason=reason)

    def _acknowledge(self, due: list[Ticket]) -> None:
        for ticket in due:
            if self.app.ledger.finish(ticket):
                topic = self.app.logical[ticket.place.topic]
                self._metrics.count("freshlens_events_total", topic=topic, outcome="finished")
        self._metrics.gauge("freshlens_inflight_events", self.app.ledger.in_flight)

    async def _send(self, record: _Outgoing) -> _Outgoing | None:
        """Send and wait for the confirmation; the record itself where it has to be tried again."""
        try:
            value = await self._encoded(record.topic, record.value)
            await self._outbox.send(self._kafka.topic(record.topic), record.key, value)
        except InvalidRecord as error:
            # Too large for its topic, for good: trying again would hold up everything behind it.
            _log.error("a record was refused", topic=record.topic, code=error.code, reason=error.message)
        except FreshlensError as error:
            _log.error("a record is sent again later", topic=record.topic, code=error.code, reason=error.message)
            return record
        return None

    async def _encoded(self, topic: str, value: msgspec.Struct) -> bytes:
        codec = framing.CODECS[topic]
        if self._registry is None:
            return codec.encode(value)
        subject = f"{self._kafka.topic(topic)}-value"
        return codec.encode_confluent(value, await asyncio.to_thread(self._registry.id_of, subject, codec.schema))


def run(settings: StreamsSettings, metrics: Metrics, on_ready: Callable[[], None]) -> None:
    """The whole life of the feedback worker's process; blocks until SIGTERM or SIGINT.

    Raises:
        SettingsError: a topic does not exist. BrokerUnavailable: the broker was lost for long; start again.
    """
    os.nice(_NICENESS)
    check_topics(settings.kafka, [SEARCHES, CLICKS, SEARCH_QUALITY, TRAINING_PAIRS, DEAD_LETTERS])

    async def live() -> None:
        worker = FeedbackWorker(settings, metrics)
        watcher = Watcher(settings, metrics) if settings.watch.window_us else None
        try:
            await serve(worker.app, on_ready)
        finally:
            worker.close()
            if watcher is not None:
                watcher.close()

    asyncio.run(live())
