"""Composing a worker process from its parts: ``run(role, …)`` for embed, deletes and feedback."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal

import numpy as np
import uvloop

from processors.encoders import cores, kept_model
from processors.encoders.encoder import Encoder
from processors.encoders.open_clip_encoder import is_vectors_only, load_encoder, space_of
from processors.pictures.decode import DECODE_VERSION, DecodeLimits
from processors.pictures.decoder_pool import DecoderPool
from processors.pictures.quality_gate import open_gate
from processors.pictures.video import VideoLimits
from schemas.clock import SystemClock
from schemas.errors import LayoutChanged, SpaceChanged
from schemas.framing import SchemaRegistry
from schemas.metrics import Metrics, NullMetrics
from streams import feedback
from streams.agreement import Agreements
from streams.app import POLL_PAUSE_S, worker_app
from streams.cache import EmbeddingCache
from streams.crashes import CrashJournal
from streams.dead_letters import DeadLetters
from streams.deletes import DeleteStep
from streams.embed import EmbedStep
from streams.emitting import Finisher, IndexLogWriter
from streams.encoding import EncodingQueue
from streams.faults import FaultLimit, worker_name
from streams.fetching.fetcher import PictureFetcher
from streams.hot_lane import run_hot_lane
from streams.intake import Intake
from streams.ledger import AckLedger
from streams.ledger_consumer import LedgerConsumer
from streams.offers_ahead import OffersAhead
from streams.outbox import Outbox
from streams.progress import FactPublisher, Progress
from streams.retries import Retries
from streams.room import Room
from streams.serving import check_topics, serve
from streams.settings import StreamsSettings
from streams.views import ViewMaker
from streams.watch.holds import HeldSources
from topics import administration, clients
from topics import declarations as names
from topics.registry import open_registry
from topics.store import ObjectStore, open_store
from topics.tenants import TenantDirectory

Role = Literal["embed", "deletes", "feedback"]
INFLIGHT_EVENTS_MAX = 10_000
INFLIGHT_BYTES_MAX = 256 * 1024 * 1024
"""What a worker takes in hand; more is left to Kafka, but for prices (:mod:`streams.offers_ahead`)."""
HOT_INFLIGHT_EVENTS_MAX = 64
HOT_INFLIGHT_BYTES_MAX = 32 * 1024 * 1024
"""The hot lane is for few: what floods it waits in Kafka, as on any lane, instead of making the other wait."""
FAUST_BUFFER_MAX = 2_048
"""Where Faust's buffer is full it sleeps for a whole second, so it must hold more than a second's work."""
_ADDS_POLL_PAUSE_S = 0.05
"""Products come in streams, and each poll costs as much as some of them: of 200 a second ten come together. Deletions
are few and wait less."""
DECODING_MAX = 64
_SWITCH_S = 0.0005
"""How long Python code of one thread may keep the others waiting: the model's is not to hold up the loop by 5 ms."""


def run(role: Role, settings: StreamsSettings, metrics: Metrics, on_ready: Callable[[], None]) -> None:
    """Run one worker until SIGTERM or SIGINT; returns when it has stopped cleanly.

    Raises:
        SettingsError: a topic is missing, or the encoder cannot be loaded. Tell the operator.
        StorageError: ``partition-count-changed``, ``space-changed``. Tell the operator.
        BrokerUnavailable: the broker is away, or was for too long. Start the process again.
    """
    if role == "feedback":
        feedback.run(settings, metrics, on_ready)
        return
    if role == "deletes":
        _check_cluster(settings, names.PRODUCT_DELETED)
        uvloop.run(_serve_deletes(settings, metrics, on_ready))
        return
    encoder = encoder_of(settings)
    if not is_vectors_only(settings.encoder):
        _warm(encoder)
    run_embed(settings, encoder, metrics, on_ready)


def run_embed(settings: StreamsSettings, encoder: Encoder, metrics: Metrics, on_ready: Callable[[], None]) -> None:
    """Run an embed worker with an encoder of the caller's; otherwise as :func:`run`."""
    _check_cluster(settings, *names.ADDS, names.PRODUCT_RETRY)
    sys.setswitchinterval(_SWITCH_S)
    uvloop.run(_serve_embed(settings, encoder, metrics, on_ready))


class _Parts:
    """What both workers of index-log are made of. Build it within the event loop, and close it at the end."""

    def __init__(self, role: Role, topic: str, settings: StreamsSettings, metrics: Metrics) -> None:
        kafka = settings.kafka
        self.role, self.topic, self.settings, self.metrics = role, topic, settings, metrics
        self.clock, self.ledger = SystemClock(), AckLedger()
        self.store: ObjectStore = open_store(settings.store)
        self.tenants = TenantDirectory(self.store)
        self.registry: SchemaRegistry | None = open_registry(kafka)
        self.outbox = Outbox(kafka)
        self.writer = IndexLogWriter(kafka, settings.lane, self.outbox)
        self.journal = CrashJournal(settings.data / "journal" / f"{role}-{settings.slot}")
        limit = FaultLimit(worker_name(kafka, role, settings.slot), role, self.store, self.clock, metrics)
        self.letters = DeadLetters(kafka, self.outbox, self.store, limit, self.clock, metrics)
        self.facts = FactPublisher(kafka, settings.lane.name, topic, self.ledger, Progress(), self.outbox)
        self.finisher = self.finisher_of(self.ledger, self.facts)

    def finisher_of(self, ledger: AckLedger, facts: FactPublisher | None) -> Finisher:
        return Finisher(ledger, facts, self.letters, self.journal, self.clock, self.metrics)

    def consumer_of(self, topic: str, role: str, ledger: AckLedger, finisher: Finisher) -> LedgerConsumer:
        """A consumer apart from Faust's, in a group of its own."""
        return LedgerConsumer(self.settings.kafka, topic, role, self.settings.slot, ledger, finisher, self.metrics)

    async def serve(
        self,
        intake: Intake,
        on_ready: Callable[[], None],
        *background: Awaitable[None],
        poll_pause_s: float = POLL_PAUSE_S,
    ) -> None:
        """Feed the intake from the topic until told to stop, with ``background`` beside it."""
        app = worker_app(
            self.role,
            self.settings.kafka,
            {self.topic: intake.take},
            metrics=self.metrics,
            data=self.settings.data,
            slot=self.settings.slot,
            ledger=self.ledger,
            buffer_max=FAUST_BUFFER_MAX,
            poll_pause_s=poll_pause_s,
        )
        app.on_begin.append(self.finisher.on_begin)
        try:
            async with beside(self.facts.run(), *background):
                await serve(app, on_ready)
        finally:
            intake.cancel()
            self.journal.close()
            self.outbox.close()


async def _serve_deletes(settings: StreamsSettings, metrics: Metrics, on_ready: Callable[[], None]) -> None:
    parts = _Parts("deletes", names.PRODUCT_DELETED, settings, metrics)
    step = DeleteStep(
        writer=parts.writer,
        finisher=parts.finisher,
        tenants=parts.tenants,
        registry=parts.registry,
    )
    room = Room(INFLIGHT_EVENTS_MAX, INFLIGHT_BYTES_MAX)
    await parts.serve(Intake(step.delete, parts.finisher, room, metrics), on_ready)


async def _serve_embed(
    settings: StreamsSettings, encoder: Encoder, metrics: Metrics, on_ready: Callable[[], None]
) -> None:
    parts = _Parts("embed", names.PRODUCT_ADDED, settings, metrics)
    queue = EncodingQueue(encoder, metrics)
    async with _cache(parts, encoder) as cache, AsyncExitStack() as stack:
        stack.callback(queue.close)
        held, agreements = HeldSources(parts.store), _agreements(parts, encoder, stack)
        workers = settings.decoders or cores.decoders(cores.cores())
        views = await stack.enter_async_context(
            view_maker(settings, parts.store, metrics, encoder, queue, cache, workers)
        )
        step = _embed_step(parts, views, held, agreements, parts.finisher)
        urgent = await stack.enter_async_context(
            view_maker(settings, parts.store, metrics, encoder, queue, cache, 1, urgent=True)
        )
        # Of a ledger of their own: their partitions are not Faust's to commit, and they vouch for nothing.
        ledger = AckLedger()
        finisher = parts.finisher_of(ledger, None)
        consumer = parts.consumer_of(names.PRODUCT_RETRY, "retries", ledger, finisher)
        retries = Retries(consumer, step, finisher, ledger, parts.clock)
        intake = Intake(step.first, parts.finisher, Room(INFLIGHT_EVENTS_MAX, INFLIGHT_BYTES_MAX), metrics)
        await parts.serve(
            intake,
            on_ready,
            queue.run(),
            retries.run(),
            _offers_ahead(parts, step, intake).run(),
            held.follow(),
            *_hot_lane(parts, urgent, held, agreements),
            poll_pause_s=_ADDS_POLL_PAUSE_S,
        )


def _embed_step(
    parts: _Parts, views: ViewMaker, held: HeldSources, agreements: Agreements | None, finisher: Finisher
) -> EmbedStep:
    settings = parts.settings
    return EmbedStep(
        settings.kafka,
        settings.lane,
        epoch=settings.epoch,
        can_encode=not is_vectors_only(settings.encoder),
        remembered_ms=settings.remembered_ms,
        views=views,
        writer=parts.writer,
        outbox=parts.outbox,
        store=parts.store,
        finisher=finisher,
        tenants=parts.tenants,
        held=held,
        agreements=agreements,
        registry=parts.registry,
        clock=parts.clock,
        metrics=parts.metrics,
    )


def _offers_ahead(parts: _Parts, step: EmbedStep, intake: Intake) -> OffersAhead:
    return OffersAhead(
        parts.settings.kafka,
        parts.topic,
        parts.ledger,
        intake,
        step.offer_ahead,
        declaration_of=parts.tenants.declaration,
        registry=parts.registry,
        metrics=parts.metrics,
    )


def _hot_lane(
    parts: _Parts, views: ViewMaker, held: HeldSources, agreements: Agreements | None
) -> tuple[Awaitable[None], ...]:
    """The hot lane, which shares the model, the cache and the way out with the other, and waits for nothing else."""
    settings, ledger, topic = parts.settings, AckLedger(), names.PRODUCT_ADDED_HOT
    facts = FactPublisher(settings.kafka, settings.lane.name, topic, ledger, Progress(), parts.outbox)
    finisher = parts.finisher_of(ledger, facts)
    room = Room(HOT_INFLIGHT_EVENTS_MAX, HOT_INFLIGHT_BYTES_MAX)
    # Its few events are not in the gauge of what is in flight: that one is of the other lane.
    intake = Intake(_embed_step(parts, views, held, agreements, finisher).first, finisher, room, NullMetrics())
    return facts.run(), run_hot_lane(parts.consumer_of(topic, "embed-hot", ledger, finisher), intake, ledger)


def _agreements(parts: _Parts, encoder: Encoder, stack: AsyncExitStack) -> Agreements | None:
    if not parts.settings.agreement:
        return None
    folder = parts.settings.data / "cache" / f"embed-{parts.settings.slot}"
    agreements = Agreements(folder, encoder.encoder_id, parts.metrics)
    stack.callback(agreements.keep)
    return agreements


@asynccontextmanager
async def _cache(parts: _Parts, encoder: Encoder) -> AsyncIterator[EmbeddingCache]:
    settings, metrics = parts.settings, parts.metrics
    cache = EmbeddingCache(
        settings.data / "cache" / f"embed-{settings.slot}",
        f"{encoder.encoder_id}/{DECODE_VERSION}",
        2 * settings.lane.space.dim,
        metrics,
        store=settings.store,
        bytes_max=settings.cache_bytes_max,
    )
    try:
        yield cache
    finally:
        cache.close()


@asynccontextmanager
async def view_maker(
    settings: StreamsSettings,
    store: ObjectStore,
    metrics: Metrics,
    encoder: Encoder,
    queue: EncodingQueue,
    cache: EmbeddingCache,
    workers: int,
    *,
    urgent: bool = False,
) -> AsyncIterator[ViewMaker]:
    """A way to vectors with fetching and decoding of its own, so that what is ``urgent`` waits in no common line."""
    source = PictureFetcher(settings.fetch, store, metrics)
    pool = None
    if not is_vectors_only(settings.encoder):
        limits = DecodeLimits(image_bytes_max=settings.fetch.image_bytes_max)
        pool = DecoderPool(encoder.form, workers, limits=limits, video=VideoLimits(settings.video_s_max))
        await pool.warm()
    try:
        yield ViewMaker(
            source,
            pool,
            queue,
            cache,
            store,
            metrics,
            decoding_max=DECODING_MAX,
            urgent=urgent,
            gate=open_gate(settings.gate, store, settings.lane.space),
            frames_max=settings.video_frames_max,
        )
    finally:
        if pool is not None:
            pool.close()
        await source.close()


@asynccontextmanager
async def beside(*work: Awaitable[None]) -> AsyncIterator[None]:
    """Run these beside the block, and end them with it; if one of them fails, the block is cancelled.

    Raises:
        What failed, as it is: of several the first of these, else what the block raised.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_awaited(each)) for each in work]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failed:
        first = failed.exceptions[0]
        raise first from first.__cause__


async def _awaited(work: Awaitable[None]) -> None:
    await work


def encoder_of(settings: StreamsSettings) -> Encoder:
    """The lane's encoder.

    Raises:
        SpaceChanged: it is of another space than the lane; told before it is loaded. SettingsError: there is none.
    """
    space = space_of(settings.encoder)
    if space != settings.lane.space:
        raise SpaceChanged(
            f"FRESHLENS_ENCODER={settings.encoder} is of space {space}, this lane is of {settings.lane.space}"
        )
    return load_encoder(
        settings.encoder,
        threads=settings.encoder_threads,
        device=settings.encoder_device,
        kept_in=kept_model.user_cache(),
    )


def _warm(encoder: Encoder) -> None:
    size = encoder.form.size
    encoder.encode_images(np.zeros((4, size, size, 3), dtype=np.uint8))
    encoder.encode_texts(["warm"])


def _check_cluster(settings: StreamsSettings, *inputs: str) -> None:
    check_topics(settings.kafka, [*inputs, names.INDEX_LOG, names.INDEX_PROGRESS, names.DEAD_LETTERS])
    topic, due = settings.kafka.topic(names.INDEX_LOG), settings.lane.layout.partitions
    found = administration.partition_count(clients.admin(settings.kafka), topic)
    if found != due:
        raise LayoutChanged(f"{topic} has {found} partitions, the layout has {due}: restore the count, never alter it")
