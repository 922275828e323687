"""The parts of one loader put together: the same fetcher, decoders, cache, encoder and writer as the embed worker's."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from freshlens.backfill.embeddings import EmbeddingParts, Made, StoredViews
from freshlens.backfill.job import Job
from freshlens.backfill.lines import Lines
from freshlens.backfill.loading import Loader
from processors.encoders.encoder import Encoder
from processors.encoders.open_clip_encoder import is_vectors_only
from processors.pictures.decode import DECODE_VERSION
from schemas.clock import SystemClock
from schemas.metrics import Metrics
from streams.agreement import Agreements
from streams.embed import EmbedStep
from streams.emitting import Finisher, IndexLogWriter
from streams.encoding import EncodingQueue
from streams.ledger import Ticket
from streams.outbox import Outbox
from streams.settings import StreamsSettings
from streams.watch.holds import HeldSources
from streams.worker import view_maker
from topics.registry import open_registry
from topics.store import open_store
from topics.tenants import TenantDirectory

EncoderOf = Callable[[StreamsSettings], Encoder]
_SLOTS_MAX = 64


@asynccontextmanager
async def open_loader(job: Job, encoder: Encoder, metrics: Metrics) -> AsyncIterator[Loader]:
    """A loader that works, until the end of the block."""
    settings = _settings(job)
    async with AsyncExitStack() as stack:
        store = open_store(settings.store, job.environ)
        outbox = Outbox(settings.kafka)
        stack.callback(outbox.close)
        queue = EncodingQueue(encoder, metrics)
        stack.callback(queue.close)
        folder = stack.enter_context(_own_folder(settings.data / "backfill"))
        cache = stack.enter_context(_stored_views(job, folder, encoder, metrics))
        decoders = max(1, (os.cpu_count() or 1) // 2)
        made = view_maker(settings, store, metrics, encoder, queue, cache, decoders)
        views = await stack.enter_async_context(made)
        stack.callback(asyncio.create_task(queue.run()).cancel)
        clock, tenants = SystemClock(), TenantDirectory(store)
        held, agreements = HeldSources(store), None
        if settings.agreement:
            agreements = Agreements(folder, encoder.encoder_id, metrics)
            stack.callback(agreements.keep)
        stack.callback(asyncio.create_task(held.follow()).cancel)
        step = EmbedStep(
            settings.kafka,
            settings.lane,
            epoch=settings.epoch,
            can_encode=not is_vectors_only(settings.encoder),
            remembered_ms=settings.remembered_ms,
            views=views,
            writer=IndexLogWriter(settings.kafka, settings.lane, outbox),
            outbox=outbox,
            store=store,
            finisher=_Unawaited(),
            tenants=tenants,
            held=held,
            agreements=agreements,
            registry=open_registry(settings.kafka),
            clock=clock,
            metrics=metrics,
        )
        lines = Lines(job.dump, job.tenant, job.date, tenants.declaration, started_at_ms=job.started_at_ms)
        yield Loader(job, lines, held, step, outbox, store, clock, cache.flush)


@contextmanager
def _stored_views(job: Job, folder: Path, encoder: Encoder, metrics: Metrics) -> Iterator[StoredViews]:
    space = job.settings.lane.space
    made = Made(encoder.encoder_id, DECODE_VERSION, space.name, space.dim)
    parts = EmbeddingParts(open_store(job.embeddings, job.environ), folder, made)
    views = StoredViews(folder, f"{encoder.encoder_id}/{DECODE_VERSION}", parts, space.dim, metrics)
    try:
        yield views
    finally:
        views.close()


def _settings(job: Job) -> StreamsSettings:
    """As the embed worker's; the operator who names a dump in a bucket means the pictures beside it too."""
    policy = job.settings.fetch
    if job.dump.scheme != "s3":
        return job.settings
    bucket = job.dump.files[0].path.partition("/")[0]
    return replace(job.settings, fetch=replace(policy, buckets=policy.buckets | {bucket}))


@contextmanager
def _own_folder(root: Path) -> Iterator[Path]:
    """A folder that no other loader of this machine uses meanwhile; the next run finds what this one left."""
    for slot in range(_SLOTS_MAX):
        folder = root / f"worker-{slot}"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("wb") as lock:
            if _is_ours(lock):
                yield folder
                return
    raise RuntimeError(f"{_SLOTS_MAX} loaders work in {root} already")


def _is_ours(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Unawaited(Finisher):
    """Nobody waits for a row: no token names a place in a dump."""

    def __init__(self) -> None:
        pass

    def confirmed(self, ticket: Ticket, partition: int, next_offset: int) -> None:
        pass
