"""Faust as we use it: raw topics in, a ledger instead of its acknowledgements, committed records only (DESIGN 5).

What of Faust 0.15 is replaced, and why:

- commits: its gap bookkeeping commits past unfinished events, so the ledger's watermark is committed instead;
- seeking: it leaves the position alone where nothing (or 0) was committed, so every partition is sought explicitly;
- isolation: it hard-codes ``read_uncommitted``, so records of aborted transactions would be delivered;
- reading ahead: it bounds the records it holds, not their bytes, and at the bound it sleeps for a whole second;
- its long poll of 1.5 s would delay records of partitions that were left out of it;
- polls follow each other at once, so that a steady stream costs one of them for nearly every record;
- taking many records at once: it looks for them every few milliseconds, whether there are any or not;
- delivery: it makes four tasks for each record, so as to stop waiting for room in a queue when a rebalance begins.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faust
import structlog
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from schemas.errors import EventsLost
from schemas.events import Source
from schemas.metrics import Metrics
from streams.ledger import AckLedger, Place, Ticket
from topics.settings import KafkaSettings

FETCH_WAIT_MS = 500
"""How long the broker may keep a poll that finds nothing: what arrives meanwhile is answered at once."""
BRIEF_WAIT_MS = 20
"""The same of a poll that leaves partitions out, since what arrives on those has to wait for the next one."""
POLL_PAUSE_S = 0.02
"""From the beginning of one poll to that of the next: what comes meanwhile comes together, and goes on together. The
first after a silence waits for nothing."""
FETCH_BYTES_MAX = 4 * 1024 * 1024
BUFFER_BYTES_MAX = 64 * 1024 * 1024
"""Faust counts what it has read ahead in records, and one of ours may have 12 MiB."""
_FULL_PAUSE_S = 0.02
HELD_BACK_S_MAX = 7 * 24 * 3600
"""How long a worker may hold back its input, paused or waiting, before its group takes the partitions from it."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Received:
    """One record of an input topic. ``source`` has the topic's logical name, ``ticket`` its name on the cluster."""

    ticket: Ticket
    source: Source
    key: bytes | None
    value: bytes | None


Handler = Callable[[Received], Awaitable[None]]
"""Takes one record. It may return before the record is finished, and waits only to hold back the next one.

It never raises; it calls ``app.ledger.finish(received.ticket)`` once the record has its effect.
"""

OnBegin = Callable[[Mapping[Place, int]], Awaitable[None]]
"""Told of the partitions that were assigned and the position each begins at, before anything is delivered."""


class WorkerApp(faust.App):
    """A Faust app whose commits come from ``ledger``. Build it with :func:`worker_app`."""

    ledger: AckLedger
    logical: Mapping[str, str]
    """Logical topic names by names on the cluster."""
    on_begin: list[OnBegin]
    metrics: Metrics
    receiving: asyncio.Event
    """Set once the first assignment is complete and records are delivered."""
    read_ahead: list[Any]
    """Faust's queues of what it has read and not delivered yet."""
    poll_pause_s: float
    """The least time between the beginnings of two polls."""

    @property
    def read_ahead_bytes(self) -> int:
        """Bytes of values in those queues."""
        return sum(len(event.message.value or b"") for queue in self.read_ahead for event in queue._queue)

    def on_rebalance_end(self) -> None:
        super().on_rebalance_end()
        self.receiving.set()

    def _new_transport(self) -> driver.Transport:
        return _Transport(self.conf.broker_consumer, self)


def worker_app(
    role: str,
    kafka: KafkaSettings,
    handlers: Mapping[str, Handler],
    *,
    metrics: Metrics,
    data: Path,
    slot: int = 0,
    ledger: AckLedger | None = None,
    buffer_max: int = 2_048,
    poll_pause_s: float = POLL_PAUSE_S,
    **over: Any,
) -> WorkerApp:
    """The Faust app of one worker process, in the consumer group ``kafka.group(role)``.

    Args:
        role: names the group; every process of a role shares the work.
        handlers: by logical topic name, what takes each of its records, in order per partition.
        metrics: where lost events are reported to.
        data: the data directory.
        slot: which process of its role this is. With the slot as static member a killed worker is back at once.
        ledger: where deliveries are kept, if somebody else must know it first.
        buffer_max: records Faust may hold in memory beyond those the handlers have taken.
        poll_pause_s: the least time between the beginnings of two polls.
        over: further Faust settings.
    """
    (data / "faust").mkdir(parents=True, exist_ok=True)
    app = WorkerApp(kafka.group(role), **{**_settings(role, kafka, data, slot, buffer_max), **over})
    app.ledger = ledger if ledger is not None else AckLedger()
    app.logical = {kafka.topic(name): name for name in handlers}
    app.on_begin = []
    app.metrics = metrics
    app.receiving = asyncio.Event()
    app.read_ahead = []
    app.poll_pause_s = poll_pause_s
    for name, handler in handlers.items():
        topic = app.topic(kafka.topic(name), key_serializer="raw", value_serializer="raw")
        app.agent(topic, name=f"{role}-{name}")(_agent(app, handler))
    return app


def report_lost(metrics: Metrics, topic: str, place: Place, committed: int | None, log_start: int) -> None:
    """Say so if events between what was committed and the log's start were removed unread; ``topic``: logical name."""
    if committed is None or committed >= log_start:
        return
    metrics.count("freshlens_events_lost_total", log_start - committed, topic=topic)
    _log.error(
        "events were removed before they were processed; publish them again",
        code=EventsLost.code,
        topic=place.topic,
        partition=place.partition,
        first_offset=committed,
        next_offset=log_start,
    )


def _settings(role: str, kafka: KafkaSettings, data: Path, slot: int, buffer_max: int) -> dict[str, Any]:
    return {
        **kafka.faust(),
        "datadir": str(data / "faust" / role),
        "web_enabled": False,
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": FETCH_BYTES_MAX,
        "consumer_group_instance_id": f"{kafka.group(role)}-{slot}",
        # Short enough for a killed worker's partitions to move on, long enough for its restart under the same slot.
        "broker_session_timeout": 10,
        "broker_heartbeat_interval": 3,
        "broker_rebalance_timeout": 10,
        "broker_request_timeout": 12,
        "broker_max_poll_interval": HELD_BACK_S_MAX,
        "broker_commit_interval": 0.5,
        "broker_max_poll_records": 500,
        "stream_buffer_maxsize": buffer_max,
        "stream_wait_empty": False,
        "stream_recovery_delay": 0.0,
        "producer_acks": -1,
        "worker_redirect_stdouts": False,
    }


def _agent(app: WorkerApp, handler: Handler) -> Callable[[Any], Awaitable[None]]:
    async def deliver(stream: Any) -> None:
        app.read_ahead.append(stream.channel.queue)
        stream.enable_acks = False
        async for event in stream.events():
            if (received := _received(app, event.message)) is not None:
                await handler(received)

    return deliver


def _received(app: WorkerApp, message: Any) -> Received | None:
    if message.generation_id != app.consumer_generation_id:
        return None  # fetched before a rebalance: whoever has the partition now gets it again
    ticket = app.ledger.deliver(Place(message.topic, message.partition), message.offset)
    if ticket is None:
        return None
    appended_at = round((message.timestamp or 0.0) * 1000)
    source = Source(app.logical[message.topic], message.partition, message.offset, appended_at)
    return Received(ticket, source, message.key, message.value)


class _Thread(driver.AIOKafkaConsumerThread):
    app: WorkerApp

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Both are read when the consumer starts, and Faust has no setting for either.
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        assert self._consumer is not None
        hurry_partial_polls(self._consumer._fetcher)
        pace_polls(self._consumer._fetcher, self.app.poll_pause_s)


def pace_polls(fetcher: Any, pause_s: float) -> None:
    """Let this aiokafka Fetcher's polls of one broker begin so long after one another, in seconds."""
    poll, now = fetcher._proc_fetch_request, asyncio.get_running_loop().time
    free_at: dict[int, float] = {}

    async def paced(assignment: Any, node_id: int, request: Any) -> Any:
        if (early_s := free_at.get(node_id, 0.0) - now()) > 0:
            try:
                await asyncio.sleep(early_s)
            except asyncio.CancelledError:
                return False  # as the poll itself says when it is cancelled: the fetcher closes and awaits it
        free_at[node_id] = now() + pause_s
        return await poll(assignment, node_id, request)

    fetcher._proc_fetch_request = paced


def hurry_partial_polls(fetcher: Any) -> None:
    """Of this aiokafka Fetcher, let polls that leave partitions out wait for BRIEF_WAIT_MS only.

    Left out are partitions whose records were read and not taken yet, that are paused, or whose offset is being reset.
    """
    plan = fetcher._get_actions_per_node

    def planned(assignment: Any) -> Any:
        requests, resetting, backoff_s, is_stale, resuming = plan(assignment)
        if fetcher._records or resetting or resuming:
            for _, request in requests:
                request._max_wait_ms = BRIEF_WAIT_MS
        return requests, resetting, backoff_s, is_stale, resuming

    fetcher._get_actions_per_node = planned


class _Consumer(driver.Consumer):
    app: WorkerApp

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def _wait_next_records(self, timeout: float) -> Any:
        """Read no further while what was read ahead is large; heartbeats go on."""
        if self.flow_active and (self.app.read_ahead_bytes > BUFFER_BYTES_MAX or not self._get_active_partitions()):
            await self.sleep(_FULL_PAUSE_S)
            return {}, set()
        return await super()._wait_next_records(timeout)

    async def wait_first(self, *coros: Any, timeout: Any = None) -> Any:
        """Faust's delivery of one record is awaited as it is where it has nothing to wait for."""
        if len(coros) != 2 or not self._has_room():
            return await super().wait_first(*coros, timeout=timeout)
        delivery, suspended = coros
        suspended.close()
        await delivery
        return None

    def _has_room(self) -> bool:
        is_flowing = self.app.flow_control.is_active() and not self.suspend_flow.is_set()
        return is_flowing and not any(queue.full() for queue in self.app.read_ahead)

    async def perform_seek(self) -> None:
        """Seek every assigned partition to where its unfinished events begin, and begin its assignment there."""
        if not self.assignment():
            return
        committed = await self.seek_to_committed()
        log_starts = await self.earliest_offsets(*committed)
        positions = {TP(*tp): max(offset or 0, log_starts[tp]) for tp, offset in committed.items()}
        for tp, offset in committed.items():
            report_lost(self.app.metrics, self.app.logical.get(tp[0], tp[0]), Place(*tp), offset, log_starts[tp])
            self._committed_offset[TP(*tp)] = offset
        await self.seek_wait(positions)
        began = {Place(tp.topic, tp.partition): offset for tp, offset in positions.items()}
        for place, offset in began.items():
            self.app.ledger.begin(place, offset)
        for on_begin in self.app.on_begin:
            await on_begin(began)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        # Commit what is finished while we still may; the ledger forgets the rest, which will be delivered again.
        await self.commit()
        for tp in revoked:
            self.app.ledger.end(Place(tp.topic, tp.partition))
        await super().on_partitions_revoked(revoked)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        for topic, partition in self.app.ledger.places:
            tp = TP(topic, partition)
            if topics is None or tp in topics or topic in topics:
                yield tp

    def _new_offset(self, tp: TP) -> int | None:
        return self.app.ledger.watermark(Place(tp.topic, tp.partition))


class _Transport(driver.Transport):
    Consumer = _Consumer
