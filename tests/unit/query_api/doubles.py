"""Doubles of everything the API talks to: an exact shard in memory, an encoder that hashes, a Kafka that remembers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
from aiohttp.test_utils import TestClient, TestServer

from processors.pictures.blocklist import BlockList
from processors.pictures.gate_settings import BLOCKLIST_BITS
from query_api.access.key_ring import KeyRing
from query_api.access.keys import SEARCHER
from query_api.app import create_app
from query_api.encoder.wire import EncodeAnswer, EncodeRequest, EncoderHealth, RegionsAnswer, RegionsRequest
from query_api.feedback_out import FeedbackOut
from query_api.parts import NoQuality, Parts, QualitySource
from query_api.query.fields import fields_of
from query_api.query.matching import passes
from query_api.ranking.learned import Model
from query_api.ranking.rule_store import RuleBook
from query_api.ranking.verifier import Comparer
from query_api.search.no_match import Thresholds
from query_api.search.pipeline import Searcher
from query_api.settings import ApiSettings, Limits
from query_api.shards.cluster import Cluster
from query_api.shards.scatter import InProcess
from schemas.clock import ManualClock
from schemas.embeddings import Space, Vector, from_fp16, to_fp16
from schemas.errors import EncoderUnavailable, ShardUnavailable, UndecodableImage
from schemas.events import ProductAdded, ProductDeleted
from schemas.fields import Kind
from schemas.lane import Lane
from schemas.layout import Layout
from schemas.metrics import RecordingMetrics
from schemas.node_status import NodeStatus
from schemas.progress import Position
from schemas.shard import (
    Shard,
    ShardAnswer,
    ShardFacet,
    ShardHit,
    ShardLookup,
    ShardProduct,
    ShardProducts,
    ShardSearch,
    ShardState,
)
from schemas.tenants import TenantDeclaration
from topics.settings import KafkaSettings
from topics.store import FileStore

DIM = 16
SPACE = Space("test", DIM)
LOG_ID = "cluster:index-log"
JPEG = b"\xff\xd8\xff\xe0 a picture"


def lane(layout: Layout = Layout(8, 1)) -> Lane:  # noqa: B008  # frozen
    return Lane("main", SPACE, layout)


def api_settings(**over: object) -> ApiSettings:
    values: dict[str, object] = {
        "kafka": KafkaSettings("localhost:9092"),
        "lane": lane(),
        "store_url": "/nowhere",
        "encoder_url": "http://encoder",
        **over,
    }
    return ApiSettings(**values)  # type: ignore[arg-type]


def vector_of(text: str | bytes) -> Vector:
    """A unit vector that depends on the text only."""
    raw = text.encode() if isinstance(text, str) else text
    seed = int.from_bytes(blake2b(raw, digest_size=8).digest(), "little")
    vector = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    unit: Vector = vector / np.linalg.norm(vector)
    return unit


def shard_product(
    product_id: str, *, version: int = 1, vector: Vector | None = None, deleted: int | None = None, **fields: object
) -> ShardProduct:
    """A product that looks like its own id, unless a vector is given; its attributes tell the offer, as a node's do."""
    row = vector_of(product_id) if vector is None else vector
    offer = {name: fields[name] for name in ("price", "currency", "stock") if name in fields}
    attributes = {**fields.pop("attributes", {}), **offer, "in_stock": fields.get("in_stock", True)}  # type: ignore[dict-item]
    hit = ShardHit(
        product_id=product_id,
        similarity=0.0,
        source="tail",
        version=version,
        content_version=version,
        attributes=attributes,
        **fields,
    )  # type: ignore[arg-type]
    gone = deleted is not None and deleted >= version
    return ShardProduct(
        product_id=product_id,
        visible=not gone,
        content_version=None if gone else version,
        offer_version=None,
        deleted_version=deleted,
        hit=None if gone else hit,
        vectors=() if gone else (to_fp16(row),),
    )


@dataclass
class FakeShard:
    """One shard in memory: exact, and as slow, stale or dead as a test wants it."""

    shard: int = 0
    products: dict[tuple[str, str], ShardProduct] = field(default_factory=dict)
    applied: dict[int, int] = field(default_factory=lambda: {0: 10})
    is_dead: bool = False
    stale: bool = False
    fields: frozenset[str] | None = None
    """Fields that products here have; None: all that anybody may ask for."""
    facets: dict[str, ShardFacet] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    hidden: frozenset[str] = frozenset()
    """Products that approximate search misses."""
    asked: list[ShardSearch | ShardLookup] = field(default_factory=list)
    arriving: Callable[[], float] | None = None
    """Called by who may wait for what is not applied yet: how many milliseconds that took."""
    answering: asyncio.Event | None = None
    """A look-up is not answered before it is set."""

    def put(self, *products: ShardProduct, tenant: str = "default") -> None:
        for product in products:
            self.products[tenant, product.product_id] = product

    async def search(self, request: ShardSearch) -> ShardAnswer:
        self._note(request)
        waited_ms = self._waited(request)
        found = [
            self._hit(product, request)
            for (tenant, _), product in self.products.items()
            if tenant == request.tenant and product.visible and product.hit is not None
        ]
        hits = [hit for hit in found if request.filter is None or passes(request.filter, hit)]
        if not request.exact:
            hits = [hit for hit in hits if hit.product_id not in self.hidden]
        if request.vector is None:
            hits.sort(key=lambda hit: (-hit.version, hit.product_id.encode()))
        else:
            hits.sort(key=lambda hit: (-hit.similarity, hit.product_id.encode()))
        if request.collapse:
            hits = [hit for place, hit in enumerate(hits) if not _is_duplicate(hit, hits[:place])]
        return ShardAnswer(
            state=self.state(),
            hits=tuple(hits[: request.k]),
            total_candidates=len(hits),
            freshness_met=self._is_fresh(request.min_applied),
            search_ms=0.1,
            waited_ms=waited_ms,
            warnings=self.warnings,
            facets={name: self.facets[name] for name in request.facets if name in self.facets},
            kinds=self._kinds_unless_all(request),
        )

    def _kinds_unless_all(self, request: ShardSearch) -> dict[str, tuple[Kind, ...]] | None:
        if self.fields is None or {*fields_of(request.filter), *request.preferred} <= self.fields:
            return None
        return {name: tuple(Kind) for name in self.fields}

    async def lookup(self, request: ShardLookup) -> ShardProducts:
        self._note(request)
        if self.answering is not None:
            await self.answering.wait()
        waited_ms = self._waited(request)
        known = [self.products.get((request.tenant, name)) for name in request.product_ids]
        return ShardProducts(
            state=self.state(),
            products=tuple(product for product in known if product is not None),
            freshness_met=self._is_fresh(request.min_applied),
            waited_ms=waited_ms,
        )

    def _waited(self, request: ShardSearch | ShardLookup) -> float:
        if self.arriving is None or not request.wait_ms or self._is_fresh(request.min_applied):
            return 0.0
        return self.arriving()

    def state(self) -> ShardState:
        return ShardState(
            shard=self.shard, generation=3, applied=dict(self.applied), lag_ms=5, stale=self.stale, log_id=LOG_ID
        )

    def failed(self) -> bool:
        self.is_dead = True
        return True

    def _note(self, request: ShardSearch | ShardLookup) -> None:
        self.asked.append(request)
        if self.is_dead:
            raise ShardUnavailable(f"shard {self.shard} is dead")

    def _hit(self, product: ShardProduct, request: ShardSearch) -> ShardHit:
        assert product.hit is not None
        if request.vector is None or not product.vectors:
            return product.hit
        query = np.frombuffer(request.vector, dtype="<f4")
        similarity = max(float(from_fp16(raw, DIM) @ query) for raw in product.vectors)
        vector = product.vectors[0] if request.with_vectors else b""
        return ShardHit(**{**_fields(product.hit), "similarity": similarity, "vector": vector})

    def _is_fresh(self, min_applied: dict[int, int]) -> bool:
        return all(self.applied.get(partition, 0) >= offset for partition, offset in min_applied.items())


def _is_duplicate(hit: ShardHit, before: list[ShardHit]) -> bool:
    return bool(hit.dup_group) and any(other.dup_group == hit.dup_group for other in before)


@dataclass
class FakeReplica:
    shard: Shard
    failures: int = 0
    node_id: str = "fake"

    def failed(self) -> bool:
        self.failures += 1
        return self.failures == 1


@dataclass
class FakeDirectory:
    """A list of replicas for each shard."""

    by_shard: list[list[FakeReplica]]

    def replicas(self, shard: int) -> Sequence[FakeReplica]:
        return self.by_shard[shard]


class FakeEncoder:
    """Encodes pictures and texts as :func:`vector_of` does."""

    def __init__(self) -> None:
        self.asked: list[EncodeRequest] = []
        self.is_dead = False
        self.flags: tuple[str, ...] = ()
        self.boxes: tuple[tuple[float, float, float, float], ...] = ()

    async def encode(self, request: EncodeRequest, *, timeout_s: float) -> EncodeAnswer:
        self.asked.append(request)
        if self.is_dead:
            raise EncoderUnavailable("the encoder did not answer")
        if request.image is not None and not request.image.startswith((b"\xff\xd8", b"\x89PNG")):
            raise UndecodableImage("not a picture")
        return EncodeAnswer(
            image=None if request.image is None else _picture_vector(request).tobytes(),
            text=None if request.text is None else vector_of(request.text).tobytes(),
            decode_ms=1.0,
            encode_ms=2.0,
            flags=self.flags if request.image is not None else (),
        )

    async def regions(self, request: RegionsRequest, *, timeout_s: float) -> RegionsAnswer:
        return RegionsAnswer(boxes=self.boxes)

    async def health(self) -> EncoderHealth:
        if self.is_dead:
            raise EncoderUnavailable("the encoder did not answer")
        return EncoderHealth(str(SPACE), "fake")


class FakePublisher:
    """Keeps what was published. While ``is_away`` nothing is confirmed; ``asked`` is set once somebody waits."""

    def __init__(self) -> None:
        self.events: list[ProductAdded | ProductDeleted] = []
        self.error: Exception | None = None
        self.is_away = False
        self.asked = asyncio.Event()

    async def publish(self, event: ProductAdded | ProductDeleted, *, hot: bool = False) -> Position:
        if self.error is not None:
            raise self.error
        self.events.append(event)
        self.asked.set()
        if self.is_away:
            await asyncio.Event().wait()
        topic = (
            ("product-added-hot" if hot else "product-added") if isinstance(event, ProductAdded) else "product-deleted"
        )
        return Position(f"cluster:{topic}", topic, 0, len(self.events) - 1)


class FakeTenants:
    """Every tenant has the default declaration, or the one that was put in."""

    def __init__(self) -> None:
        self.declared: dict[str, TenantDeclaration] = {}

    async def current(self, tenant: str) -> TenantDeclaration:
        return self.declared.get(tenant, TenantDeclaration(tenant))


@dataclass
class Api:
    """An application over doubles, and a client to it."""

    client: TestClient
    shards: list[FakeShard]
    encoder: FakeEncoder
    publisher: FakePublisher
    tenants: FakeTenants
    cluster: Cluster
    feedback: FeedbackOut
    metrics: RecordingMetrics
    clock: ManualClock
    store: FileStore

    @property
    def shard(self) -> FakeShard:
        return self.shards[0]

    @property
    def searcher(self) -> Searcher:
        app = self.client.app
        assert app is not None
        return app[SEARCHER]

    def records(self) -> list[tuple[str, object]]:
        """What left for Kafka: (topic, record)."""
        waiting = self.feedback.records
        taken = [waiting.popleft() for _ in range(len(waiting))]
        return [(topic, record) for topic, _, record in taken]


def status_of_node(node_id: str = "n0", *, shard: int = 0, state: str = "serving", **over: object) -> NodeStatus:
    values: dict[str, object] = {
        "node_id": node_id,
        "url": f"http://{node_id}:1",
        "shard": shard,
        "replica": 0,
        "layout_id": "p8s1",
        "lane": "main",
        "space": SPACE.name,
        "log_id": LOG_ID,
        "state": state,
        "generation": 1,
        "applied": {"0": 10},
        "products": 7,
        "delta_rows": 0,
        "reported_at": 0,
        **over,
    }
    return NodeStatus(**values)  # type: ignore[arg-type]


@asynccontextmanager
async def running_api(
    folder: Path,
    *,
    shards: int = 1,
    thresholds: dict[str, float] | None = None,
    limits: Limits = Limits(),  # noqa: B008  # frozen
    queued_max: int = 1_000,
    keys: KeyRing | None = None,
    quality: QualitySource | None = None,
    rules: RuleBook | None = None,
    model: Model | None = None,
    comparer: Comparer | None = None,
    node: Shard | None = None,
    local: InProcess | None = None,
    **over: object,
) -> AsyncIterator[Api]:
    """The application on a loopback port, with doubles for everything else; ``node``: a real shard instead."""
    settings = api_settings(lane=lane(Layout(8, shards)), limits=limits, **over)
    clock, metrics = ManualClock(), RecordingMetrics()
    fakes = [FakeShard(number) for number in range(shards)]
    encoder, publisher, tenants = FakeEncoder(), FakePublisher(), FakeTenants()
    cluster = Cluster(settings.lane, clock, node_age_max_s=10)
    feedback, store = FeedbackOut(metrics, queued_max), FileStore(folder / "store")
    parts = Parts(
        settings=settings,
        cluster=cluster,
        directory=FakeDirectory([[FakeReplica(node or shard)] for shard in fakes]),
        encoder=encoder,
        publisher=publisher,
        tenants=tenants,
        store=store,
        feedback=feedback,
        keys=keys or KeyRing(),
        rules=rules or RuleBook(),
        model=model,
        comparer=comparer,
        blocked=BlockList(store, bits=BLOCKLIST_BITS, every_s=0),
        quality=quality or NoQuality(),
        thresholds=Thresholds(thresholds or {}),
        metrics=metrics,
        clock=clock,
        render_metrics=lambda: b"# metrics\n",
        local=local,
    )
    async with TestClient(TestServer(create_app(settings, parts))) as client:
        yield Api(client, fakes, encoder, publisher, tenants, cluster, feedback, metrics, clock, store)
    await asyncio.sleep(0)


def _picture_vector(request: EncodeRequest) -> Vector:
    """A crop looks like its left edge: ``region-0.5``; the whole picture like its bytes."""
    assert request.image is not None
    return vector_of(request.image if request.crop is None else f"region-{request.crop[0]}")


def _fields(hit: ShardHit) -> dict[str, object]:
    return {name: getattr(hit, name) for name in hit.__struct_fields__}
