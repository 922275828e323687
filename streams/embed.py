"""The embed worker: product-added becomes index-log."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Sequence
from time import perf_counter

import msgspec
import structlog

from processors.added import (
    Incoming,
    PlannedView,
    ReadyView,
    VectorView,
    index_record,
    plan_views,
    read,
    views_left_out,
)
from processors.pictures.decode import DECODE_VERSION
from processors.watch.agreement import text_to_compare
from schemas.clock import Clock
from schemas.errors import ImageSourceUnavailable, InvalidRecord, PictureBlocked, RetriesExhausted
from schemas.events import Content, Picture, ProductAdded, ProductRetry
from schemas.framing import PRODUCT_ADDED, PRODUCT_RETRY, SchemaRegistry
from schemas.hashing import content_hash
from schemas.index_log import IndexLogRecord
from schemas.lane import Lane
from schemas.metrics import Metrics
from streams.agreement import Agreements
from streams.app import Received
from streams.emitting import Finisher, IndexLogWriter, Rejected
from streams.outbox import Outbox
from streams.views import FIRST_FETCH_S, Obtained, ViewMaker
from streams.watch.holds import HeldSources
from topics import declarations as names
from topics.settings import KafkaSettings, check_is_remembered
from topics.store import ObjectStore, original_key
from topics.tenants import TenantDirectory

RETRY_FETCH_S = 30.0
RETRY_FOR_US = 24 * 3600 * 1_000_000
RETRY_TRIES_MIN = 12
BACKOFF_US_MIN = 1_000_000
BACKOFF_US_MAX = 60 * 1_000_000
RETRY_US_MAX = BACKOFF_US_MAX * 5 // 4
"""The longest that :func:`retry_at` asks for."""
_EMITTED_MAX = 10_000
_log = structlog.get_logger()


def retry_at(attempts: int, now_us: int, *, asked_s: float = 0.0, chance: float = 0.0) -> int:
    """When to try again after this many attempts, in microseconds: 1 s later, then 2 s … 60 s.

    Args:
        asked_s: not before this long, as the host said, or what is known of it; a minute at most, for those that wait
            are held in memory, and one host that asks for hours would keep everybody's from being read.
        chance: 0 … 1; up to a quarter later, so that the pictures of one host do not come back all at once.
    """
    wanted_us = max(BACKOFF_US_MIN << min(attempts - 1, 6), int(asked_s * 1_000_000))
    backoff_us = min(BACKOFF_US_MAX, wanted_us)
    return now_us + backoff_us + int(backoff_us * chance / 4)


def is_given_up(attempts: int, appended_at_ms: int, now_us: int) -> bool:
    """Whether a picture that is still not there after this many retries is tried no more.

    What is old already when it comes, after an outage or as a replay, is tried as often as anything.
    """
    return attempts >= RETRY_TRIES_MIN and now_us - appended_at_ms * 1000 > RETRY_FOR_US


class EmbedStep:
    """Gives one product-added event its effect. Shared by the worker's agent and by its retries."""

    def __init__(
        self,
        kafka: KafkaSettings,
        lane: Lane,
        *,
        epoch: int,
        can_encode: bool,
        remembered_ms: int,
        views: ViewMaker,
        writer: IndexLogWriter,
        outbox: Outbox,
        store: ObjectStore,
        finisher: Finisher,
        tenants: TenantDirectory,
        held: HeldSources,
        agreements: Agreements | None,
        registry: SchemaRegistry | None,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._retry_topic = kafka.topic(names.PRODUCT_RETRY)
        self._lane, self._epoch, self._can_encode = lane, epoch, can_encode
        self._views, self._writer, self._outbox, self._store = views, writer, outbox, store
        self._finisher, self._tenants, self._registry = finisher, tenants, registry
        self._held, self._agreements = held, agreements
        self._remembered_ms = remembered_ms
        self._clock, self._metrics = clock, metrics
        # What retries emitted last, by source: a hint that saves index-log from sixty equal records an hour.
        self._emitted: OrderedDict[object, bytes] = OrderedDict()

    async def first(self, received: Received) -> str:
        """An event as it was published. Raises InvalidRecord, Rejected: dead-letter it."""
        waited_s = self._clock.now_us() / 1e6 - received.source.appended_at / 1e3
        self._metrics.observe("freshlens_ingest_stage_seconds", max(0.0, waited_s), stage="kafka")
        declaration_of = await self._tenants.at_hand(received.key)
        incoming = read(received.key, received.value, received.source, declaration_of, self._registry)
        try:
            self._held.check(incoming.event)
            return await self._index(incoming, received, attempts=0, timeout_s=FIRST_FETCH_S)
        except InvalidRecord as error:
            raise Rejected(error, incoming.resolved, 1) from error

    async def again(self, incoming: Incoming, received: Received, attempts: int) -> str:
        """An event from product-retry, its version resolved the first time. Raises Rejected."""
        try:
            check_is_remembered(incoming.source, self._clock.now_us() // 1000, self._remembered_ms)
            return await self._index(incoming, received, attempts=attempts, timeout_s=RETRY_FETCH_S)
        except InvalidRecord as error:
            raise Rejected(error, incoming.resolved, attempts + 1) from error

    async def offer_ahead(self, incoming: Incoming) -> None:
        """Emit the offer of an event before its turn comes. Raises InvalidRecord: leave it to its turn."""
        self._held.check(incoming.event)
        record = self._record(incoming, None)
        if record is not None:
            await self._writer.write(record)

    async def _index(self, incoming: Incoming, received: Received, *, attempts: int, timeout_s: float) -> str:
        content = incoming.event.content
        if content is None:
            return await self._emit(incoming, received, None, with_offer=True, outcome="offer")
        planned = plan_views(content, self._lane.space, can_encode=self._can_encode)
        if all(isinstance(view, VectorView) for view in planned):
            ready = tuple(
                ReadyView("vector", view.vector, view.vector) for view in planned if isinstance(view, VectorView)
            )
            obtained = Obtained(ready, (), ())
            agreement = None
        else:
            obtained, agreement = await self._obtained(incoming, content, planned, timeout_s)
        self._report(incoming, obtained, views_left_out(content) + obtained.left_out)
        if obtained.refused and not obtained.ready and not obtained.missing:
            if any(isinstance(error, PictureBlocked) for error in obtained.refused):
                # A blocked picture must go from the index even where the product has no other.
                await self._emit(incoming, received, (), with_offer=attempts == 0, outcome="")
            raise obtained.refused[0]
        if obtained.missing:
            return await self._incomplete(incoming, received, obtained, attempts)
        outcome = await self._emit(
            incoming, received, obtained.ready, agreement, with_offer=attempts == 0, outcome="indexed"
        )
        if obtained.refused:
            # It can be found by its other views; a dead letter is where its publisher sees what became of these.
            raise _partly(obtained)
        return outcome

    async def _obtained(
        self, incoming: Incoming, content: Content, planned: Sequence[PlannedView], timeout_s: float
    ) -> tuple[Obtained, float | None]:
        """The views, and how well the pictures among them agree with the text, which is encoded beside them."""
        obtaining = self._views.obtain(incoming.key.tenant, planned, timeout_s=timeout_s)
        text = text_to_compare(content) if self._agreements is not None and self._can_encode else None
        if self._agreements is None or text is None:
            return await obtaining, None
        vector = self._views.known_text_vector(text)
        if vector is not None:
            obtained = await obtaining
        else:
            obtained, vector = await asyncio.gather(obtaining, self._views.text_vector(text))
        return obtained, None if vector is None else self._agreements.score(obtained.ready, text, vector)

    async def _incomplete(self, incoming: Incoming, received: Received, obtained: Obtained, attempts: int) -> str:
        """Some views are not there yet: index what is there, and leave the rest to product-retry."""
        views = obtained.ready or None
        now_us = self._clock.now_us()
        if not self._was_emitted(incoming, views):
            await self._emit(incoming, received, views, with_offer=attempts == 0, outcome="")
        if is_given_up(attempts, incoming.source.appended_at, now_us):
            raise RetriesExhausted(f"not there for the whole of the retry period: {obtained.missing[0].message}")
        asked_s = min(missing.retry_after_s for missing in obtained.missing)  # the others are remembered as resting
        due_us = retry_at(attempts + 1, now_us, asked_s=asked_s, chance=random.random())
        await self._send_to_retry(incoming, attempts + 1, due_us)
        self._metrics.count("freshlens_retries_total", code=ImageSourceUnavailable.code)
        return "retry"

    async def _emit(
        self,
        incoming: Incoming,
        received: Received,
        views: tuple[ReadyView, ...] | None,
        agreement: float | None = None,
        *,
        with_offer: bool,
        outcome: str,
    ) -> str:
        record = self._record(incoming, views, agreement, with_offer=with_offer)
        if record is not None:
            started = perf_counter()
            partition, next_offset = await self._writer.write(record)
            self._metrics.observe("freshlens_ingest_stage_seconds", perf_counter() - started, stage="confirm")
            self._finisher.confirmed(received.ticket, partition, next_offset)
        return outcome

    def _record(
        self,
        incoming: Incoming,
        views: tuple[ReadyView, ...] | None,
        agreement: float | None = None,
        *,
        with_offer: bool = True,
    ) -> IndexLogRecord | None:
        return index_record(
            incoming,
            views,
            space=self._lane.space,
            epoch=self._epoch,
            decode_version=DECODE_VERSION,
            with_offer=with_offer,
            agreement=agreement,
        )

    async def _send_to_retry(self, incoming: Incoming, attempts: int, not_before: int) -> None:
        event = await asyncio.to_thread(self._by_reference, incoming.event)
        retry = ProductRetry(
            event=PRODUCT_ADDED.encode(event),
            source=incoming.source,
            version=incoming.resolved.version,
            sequence=incoming.resolved.sequence,
            attempts=attempts,
            not_before=not_before,
        )
        await self._outbox.send(self._retry_topic, incoming.key.to_bytes(), PRODUCT_RETRY.encode(retry))

    def _by_reference(self, event: ProductAdded) -> ProductAdded:
        """The event with inline pictures in the store, so that retrying costs no bytes."""
        if event.content is None:
            return event
        pictures = tuple(self._stored(picture) for picture in event.content.pictures)
        return msgspec.structs.replace(event, content=msgspec.structs.replace(event.content, pictures=pictures))

    def _stored(self, picture: Picture) -> Picture:
        if picture.inline is None:
            return picture
        name = content_hash(picture.inline).hex()
        if not self._store.exists(original_key(name)):
            self._store.put(original_key(name), picture.inline)
        return Picture(uri=f"store://originals/{name}")

    def _was_emitted(self, incoming: Incoming, views: tuple[ReadyView, ...] | None) -> bool:
        """Whether just this was emitted for this event before; remembers that it is now."""
        digest = content_hash(b"".join(view.content for view in views or ()))
        was = self._emitted.pop(incoming.source, None) == digest
        self._emitted[incoming.source] = digest
        if len(self._emitted) > _EMITTED_MAX:
            self._emitted.popitem(last=False)
        return was

    def _report(self, incoming: Incoming, obtained: Obtained, left_out: int) -> None:
        if left_out:
            _log.warning("views left out", product=str(incoming.key), count=left_out)
        if obtained.refused and obtained.ready:
            for error in obtained.refused:
                _log.warning("a view is left out", product=str(incoming.key), code=error.code, reason=error.message)


def _partly(obtained: Obtained) -> InvalidRecord:
    """The first refusal, saying that the product is there all the same."""
    first, refused, ready = obtained.refused[0], len(obtained.refused), len(obtained.ready)
    said = f"{refused} of {refused + ready} views are left out, and the product is indexed with the others"
    return type(first)(f"{said}: {first.message}", code=first.code)
