"""The parts an API process is made of, and how they are opened and closed again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from processors.pictures.blocklist import BlockList
from query_api.access.api_keys import KeyStore
from query_api.access.key_ring import KeyRing
from query_api.encoder.client import NoEncoder, QueryEncoder, RemoteEncoder
from query_api.feedback_out import FeedbackOut, FeedbackThread
from query_api.quality import QualityReader
from query_api.ranking.extras import Extras
from query_api.ranking.learned import Model, load_model
from query_api.ranking.ranker import Ranker
from query_api.ranking.rule_store import RuleBook, RuleStore
from query_api.ranking.sessions import SessionProfiles
from query_api.ranking.verifier import Comparer, GeometryProcess, Verifier
from query_api.search.no_match import Thresholds, load_thresholds
from query_api.search.pipeline import Searcher
from query_api.search.pressure import Pressure
from query_api.search.query_vector import QueryVectors
from query_api.settings import ApiSettings, check_host
from query_api.shards.cluster import Cluster
from query_api.shards.cluster_feed import ClusterFeed
from query_api.shards.freshness import SessionTokens
from query_api.shards.remote import open_session
from query_api.shards.scatter import InProcess, LocalFirst, RoutedShards, Scatter, ShardDirectory
from schemas.clock import Clock, SystemClock
from schemas.errors import TransientError
from schemas.events import ProductAdded, ProductDeleted
from schemas.feedback import SearchQuality
from schemas.metrics import Metrics, NullMetrics
from schemas.progress import Position
from schemas.tenants import TenantDeclaration
from topics.publisher import Publisher
from topics.store import ObjectStore, open_store
from topics.tenants import TenantDirectory

log = structlog.get_logger()

_RETRY_S = 0.5


class EventPublisher(Protocol):
    """Hands an event to Kafka; see :class:`topics.publisher.Publisher`."""

    async def publish(self, event: ProductAdded | ProductDeleted, *, hot: bool = False) -> Position: ...


class TenantDeclarations(Protocol):
    """What tenants declared; see :class:`topics.tenants.TenantDirectory`."""

    async def current(self, tenant: str) -> TenantDeclaration: ...


class QualitySource(Protocol):
    """The newest revision of each window of search quality, newest first."""

    def windows(self, tenant: str, limit: int = 60) -> Sequence[SearchQuality]: ...


class NoQuality:
    """Nobody reads search-quality here."""

    def windows(self, tenant: str, limit: int = 60) -> Sequence[SearchQuality]:  # noqa: ARG002
        return ()


def _no_metrics() -> bytes:
    return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the routes work with. Tests put doubles in; everything has the narrowest type that serves."""

    settings: ApiSettings
    cluster: Cluster
    directory: ShardDirectory
    encoder: QueryEncoder
    publisher: EventPublisher
    tenants: TenantDeclarations
    store: ObjectStore
    feedback: FeedbackOut
    keys: KeyRing = field(default_factory=KeyRing)
    rules: RuleBook = field(default_factory=RuleBook)
    model: Model | None = None
    comparer: Comparer | None = None
    blocked: BlockList | None = None
    profiles: SessionProfiles = field(default_factory=SessionProfiles)
    thresholds: Thresholds = field(default_factory=lambda: Thresholds({}))
    quality: QualitySource = field(default_factory=NoQuality)
    metrics: Metrics = field(default_factory=NullMetrics)
    clock: Clock = field(default_factory=SystemClock)
    render_metrics: Callable[[], bytes] = _no_metrics
    local: InProcess | None = None

    def is_served(self, shard: int) -> bool:
        """Whether somebody answers for a shard: this process itself, or a node that was heard of lately."""
        if self.local is not None and shard == self.local.number and self.local.answers():
            return True  # before its first report has gone through Kafka
        return self.cluster.routes.is_serving(shard, self.cluster.now())

    def searcher(self) -> Searcher:
        """The search pipeline over these parts."""
        scatter = Scatter(self.directory, self.settings.lane.layout, metrics=self.metrics)
        return Searcher(
            lane=self.settings.lane,
            cluster=self.cluster,
            vectors=QueryVectors(self.settings.lane, self.encoder, scatter),
            scatter=scatter,
            thresholds=self.thresholds,
            sessions=SessionTokens(),
            ranker=self._ranker(),
            extras=Extras(self.settings.lane, scatter, self.profiles),
            feedback=self.feedback,
            metrics=self.metrics,
            clock=self.clock,
            attribute_types=self._attribute_types,
            pressure=Pressure(self.settings.target_ms),
            blocked=self.blocked,
        )

    async def _attribute_types(self, tenant: str) -> Mapping[str, str]:
        return (await self.tenants.current(tenant)).attributes

    def _ranker(self) -> Ranker:
        return Ranker(
            settings=self.settings.rank,
            metrics=self.metrics,
            rules=self.rules,
            profiles=self.profiles,
            model=self.model,
            verifier=None if self.comparer is None else Verifier(self.comparer, self.store),
        )


@asynccontextmanager
async def open_parts(
    settings: ApiSettings, metrics: Metrics, render_metrics: Callable[[], bytes], local: InProcess | None = None
) -> AsyncIterator[Parts]:
    """The real parts, closed in reverse order: feedback is sent, the publisher is flushed.

    Waits for a broker, which a fresh start may bring up at the same time. ``local``: a shard that this process serves.

    Raises:
        SettingsError: other machines are to be served, and there is no key; or the model of ranking is none.
    """
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        model = _model(settings)
        session = await stack.enter_async_context(open_session())
        cluster = Cluster(settings.lane, clock, node_age_max_s=settings.node_age_max_s)
        store = open_store(settings.store_url)
        keys = KeyRing(KeyStore(store))
        rules = RuleBook(RuleStore(store))
        await _read_first(keys.refresh)
        await _read_first(rules.refresh)
        check_host(settings.host, has_keys=not keys.is_empty)
        publisher = await _publisher(settings, store)
        stack.push_async_callback(asyncio.to_thread, publisher.close)
        feed = ClusterFeed(settings.kafka, cluster)
        stack.push_async_callback(asyncio.to_thread, feed.close)
        feedback = FeedbackOut(metrics)
        thread = FeedbackThread(settings.kafka, feedback, metrics)
        stack.push_async_callback(asyncio.to_thread, thread.close)
        quality = QualityReader(settings.kafka)
        quality.start()
        stack.push_async_callback(asyncio.to_thread, quality.stop)
        comparer = GeometryProcess()
        stack.push_async_callback(asyncio.to_thread, comparer.close)
        routed = RoutedShards(cluster, session)
        space = settings.lane.space
        has_encoder = settings.has_encoder
        yield Parts(
            settings=settings,
            cluster=cluster,
            directory=routed if local is None else LocalFirst(local, routed),
            encoder=RemoteEncoder(session, settings.encoder_url, space) if has_encoder else NoEncoder(space),
            publisher=publisher,
            tenants=TenantDirectory(store),
            store=store,
            feedback=feedback,
            keys=keys,
            rules=rules,
            model=model,
            comparer=comparer,
            blocked=BlockList(store, bits=settings.blocklist_bits),
            thresholds=await asyncio.to_thread(load_thresholds, settings, store),
            quality=quality,
            metrics=metrics,
            clock=clock,
            render_metrics=render_metrics,
            local=local,
        )


def _model(settings: ApiSettings) -> Model | None:
    rank = settings.rank
    return load_model(rank.model, expected_value=rank.expected_value) if rank.model else None


async def _read_first(refresh: Callable[[], None]) -> None:
    """Read keys or rules. Nobody is served before they are known: without keys everybody here may do everything."""
    while True:
        try:
            await asyncio.to_thread(refresh)
            return
        except (OSError, TransientError) as error:
            log.warning("waiting for the object store", error=str(error))
            await asyncio.sleep(_RETRY_S)


async def _publisher(settings: ApiSettings, store: ObjectStore) -> Publisher:
    while True:
        try:
            return await asyncio.to_thread(Publisher, settings.kafka, store=store)
        except TransientError as error:
            log.warning("waiting for Kafka", code=error.code, error=error.message)
            await asyncio.sleep(_RETRY_S)
