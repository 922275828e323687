"""The shard protocol: what a query API asks of an index node, and what it is told.

Row and slot numbers never leave a node: a hit is (key, score, versions, attributes). A request names lane and layout,
and a node that serves others refuses. On the wire: MessagePack, ``POST /shard/search`` and ``POST /shard/lookup``.
"""

from typing import Protocol

import msgspec

from schemas.events import Attributes
from schemas.fields import Kind
from schemas.filters import Filter, Scalar

FACET_VALUES_MAX = 1_000
"""Values of one facet that a shard names; beyond, counts over several shards may be too low, and say so."""
MIXED = "mixed"
"""The kind of a facet whose field has values of several kinds."""


class ShardSearch(msgspec.Struct, frozen=True, kw_only=True):
    """The k best products of one tenant.

    Attributes:
        vector: dim little-endian float32 of unit norm; None: every product that passes, newest content first.
        k: number of products wanted, 1 to 1,000.
        filter: None lets every product pass.
        min_applied: index-log partition → next offset that the answer should have applied; partitions of other shards
            are passed over.
        wait_ms: how long to wait for that.
        timeout_ms: time for the search itself.
        exact: scan every row instead of using the approximate indexes.
        collapse: the k best duplicate groups, each by its best product; a product without one is its own.
        with_vectors: hits carry the vector of their best row, which ranking needs to compare products.
        facets: fields whose values are counted over all products that pass the filter.
        preferred: further fields that the caller names, which may be unknown as those of the filter may.
        effort: the share of the usual work that an approximate index may do, above 0 to 1.
        in_company: others come at the same time, with which it may be answered together.
    """

    lane: str
    layout_id: str
    tenant: str
    vector: bytes | None = None
    k: int = 10
    filter: Filter | None = None
    min_applied: dict[int, int] = {}
    wait_ms: int = 0
    timeout_ms: int = 200
    exact: bool = False
    collapse: bool = False
    with_vectors: bool = False
    facets: tuple[str, ...] = ()
    preferred: tuple[str, ...] = ()
    effort: float = 1.0
    in_company: bool = False


class ShardHit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One product. ``similarity``: the greatest inner product over its live rows, -1 to 1 (0 without a vector)."""

    product_id: str
    similarity: float
    source: str
    """``main``, ``graph`` or ``tail``: where the best row lies."""
    version: int
    title: str | None = None
    description: str | None = None
    attributes: Attributes = {}
    """All that a filter can name, what follows of the offer included."""
    price: float | None = None
    currency: str | None = None
    stock: int | None = None
    in_stock: bool = True
    content_hash: bytes | None = None
    """Of the first picture; names its thumbnail."""
    dup_group: bytes = b""
    agreement: float | None = None
    """How well its picture and text agree, -1 to 1; None: not looked at."""
    content_version: int = 0
    """Of the content alone: a changed price makes nothing new."""
    vector: bytes = b""
    """fp16 of the best row, when asked for and searched by vector."""


class ShardView(msgspec.Struct, frozen=True, kw_only=True):
    """One view of a product, without its vector; see :class:`schemas.index_log.IndexedView`."""

    kind: str
    content_hash: bytes | None = None
    phash: bytes | None = None
    timestamp_ms: int | None = None
    flags: tuple[str, ...] = ()


class ShardState(msgspec.Struct, frozen=True, kw_only=True):
    """How fresh an answer is.

    Attributes:
        generation: sequence number of the head served, 0 before the first.
        applied: index-log partition → next offset.
        lag_ms: how long the oldest record known to wait has been in the log by the broker's clock; 0 if none waits.
        stale: lagging beyond the node's limit, stopped at a record it cannot read, or withholding content because the
            delta is full.
        log_id: identity of the index-log these offsets belong to.
    """

    shard: int
    generation: int
    applied: dict[int, int]
    lag_ms: int
    stale: bool
    log_id: str


class ShardFacet(msgspec.Struct, frozen=True, kw_only=True):
    """How often each value of a field occurs among the products that pass; a list counts once for each of its values.

    Attributes:
        kind: boolean, number, string or mixed.
        values: (value, products), the most frequent first, then by value; at most FACET_VALUES_MAX.
        distinct: how many values there are, those left out included.
        least: of numbers; None for others, and where nothing passes; ``greatest`` likewise.
    """

    kind: str
    values: tuple[tuple[Scalar, int], ...]
    distinct: int
    least: float | None = None
    greatest: float | None = None


class ShardAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a ShardSearch: hits by similarity descending, then product_id.

    ``kinds``: the kinds of values of each field that products of the tenant have in this shard; None where all are
    there that filter and ``preferred`` ask for. What is not there passes no clause: another shard may have it.
    """

    state: ShardState
    hits: tuple[ShardHit, ...]
    total_candidates: int
    freshness_met: bool
    search_ms: float
    waited_ms: float = 0.0
    """Until ``min_applied`` was there; no part of ``timeout_ms``."""
    warnings: tuple[str, ...] = ()
    facets: dict[str, ShardFacet] = {}
    kinds: dict[str, tuple[Kind, ...]] | None = None


class ShardLookup(msgspec.Struct, frozen=True, kw_only=True):
    """The state of named products, dead ones included."""

    lane: str
    layout_id: str
    tenant: str
    product_ids: tuple[str, ...]
    with_vectors: bool = False
    min_applied: dict[int, int] = {}
    wait_ms: int = 0


class ShardProduct(msgspec.Struct, frozen=True, kw_only=True):
    """One product as the fold has it; versions None where the group is absent.

    ``vectors``: fp16 of each live row, first view first, when asked for.
    """

    product_id: str
    visible: bool
    content_version: int | None
    offer_version: int | None
    deleted_version: int | None
    hit: ShardHit | None = None
    vectors: tuple[bytes, ...] = ()
    views: tuple[ShardView, ...] = ()


class ShardProducts(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a ShardLookup: the products that were ever seen, in the order asked."""

    state: ShardState
    products: tuple[ShardProduct, ...]
    freshness_met: bool
    waited_ms: float = 0.0


class ShardProblem(msgspec.Struct, frozen=True):
    """A refusal, sent with HTTP status 4xx or 503: the code and message of one of our errors."""

    code: str
    message: str


class Shard(Protocol):
    """One replica of one shard, however it is reached.

    Raises (both calls): QueryError for a filter the node refuses; ShardUnavailable when there is no answer in time.
    """

    async def search(self, request: ShardSearch) -> ShardAnswer: ...

    async def lookup(self, request: ShardLookup) -> ShardProducts: ...
