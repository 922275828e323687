"""What callers of the query API are told: the JSON bodies of its answers, as the API writes and clients read them."""

from typing import Annotated, Any

import msgspec

from schemas.events import Attributes
from schemas.feedback import SearchQuality
from schemas.filters import Scalar


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every answer with a status of 400 and above.

    Attributes:
        type: where the code is explained, relative to this server.
        title: what the code means, always the same for one code.
        status: the HTTP status.
        code: stable, kebab-case: what a program decides by.
        detail: what happened this time, and the way out.
        items: of a list of products: what became of each.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    items: Any = None


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A product as shoppers see it.

    ``thumbnail`` is a path of this server, or null without a picture; ``attributes`` has all that a filter can name,
    the offer included.
    """

    product_id: str
    version: int
    title: str | None = None
    description: str | None = None
    attributes: Attributes = {}
    price: float | None = None
    currency: str | None = None
    stock: int | None = None
    in_stock: bool = True
    thumbnail: str | None = None


class RankFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Why a result is where it is.

    Attributes:
        stages: what each stage of ranking contributed; they add up to the score.
        rules: names of the business rules that moved it.
        inliers: points of its picture that lie as in the query's; null: not compared.
    """

    stages: dict[str, float]
    rules: list[str] = []
    inliers: int | None = None


class RankingFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer was ranked: what counted how much, the version of the rules, and how many were retrieved."""

    weights: dict[str, float]
    diversity: float
    rules_version: int
    retrieved: int


class Result(Product, frozen=True, kw_only=True):
    """A product found. ``position`` from 1; ``score`` orders the answer; ``source`` is main, graph or tail.

    ``why``: with ``explain``, what the score is made of.
    """

    position: int
    score: float
    similarity: float
    source: str
    why: RankFacts | msgspec.UnsetType = msgspec.UNSET


class ShardFreshness(msgspec.Struct, frozen=True):
    """How fresh one shard's part of the answer is; ``applied``: index-log partition → next offset."""

    shard: int
    generation: int
    applied: dict[str, int]
    lag_ms: int
    stale: bool


class ShardCount(msgspec.Struct, frozen=True):
    """How many shards took part; fewer than all means a partial answer."""

    answered: int
    total: int


class FacetValue(msgspec.Struct, frozen=True):
    """A value, and how many of the products that pass have it."""

    value: Scalar
    count: int


class Facet(msgspec.Struct, frozen=True, kw_only=True):
    """How often each value of a field occurs among all products that pass the filter, found or not.

    Attributes:
        kind: boolean, number or string; null: no product that could be asked has the field.
        values: the 100 most frequent, then by value; a list counts once for each of its values.
        distinct: how many values there are.
        exact: false: a value is too rare to be named by every shard, and counts may be too low.
        least: of numbers, the least and the greatest; null for others.
    """

    kind: str | None
    values: list[FacetValue]
    distinct: int
    exact: bool
    least: float | None = None
    greatest: float | None = None


class RegionAnswer(msgspec.Struct, frozen=True):
    """What was found for one object of the picture; ``box``: left, top, width and height, as ``crop`` takes them."""

    box: tuple[float, float, float, float]
    results: list[Result]
    no_match: bool


class SearchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a search.

    Attributes:
        query_id: name it in feedback.
        no_match: nothing is similar enough, or nothing passes the filter; ``results`` is empty then.
        total_candidates: products considered by all shards.
        freshness_met: the answer is at least as fresh as ``min_offset``; true when none was given.
        read_token: everything this answer has seen; give it as ``min_offset`` to see no less.
        timings_ms: by stage, and in all.
        warnings: each begins with a stable word and a colon.
        ranking: with ``explain``, how the results were ranked.
        limited_matches: with ``limited_matches``, and where there is no match, the nearest there is.
        facets: by field, where any were asked for.
        regions: with ``regions``, what was found for each object of the picture.
    """

    query_id: str
    results: list[Result]
    no_match: bool
    total_candidates: int
    freshness_met: bool
    read_token: str
    freshness: list[ShardFreshness]
    shards: ShardCount
    timings_ms: dict[str, float]
    warnings: list[str]
    ranking: RankingFacts | msgspec.UnsetType = msgspec.UNSET
    limited_matches: list[Result] | msgspec.UnsetType = msgspec.UNSET
    facets: dict[str, Facet] | msgspec.UnsetType = msgspec.UNSET
    regions: list[RegionAnswer] | msgspec.UnsetType = msgspec.UNSET


class BatchItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one search of a batch: the status it would have had alone, and its answer or its problem."""

    status: int
    answer: SearchAnswer | None = None
    problem: Problem | None = None


class BatchAnswer(msgspec.Struct, frozen=True):
    """The searches of a batch, in the order asked."""

    answers: list[BatchItem]


class ProductView(msgspec.Struct, frozen=True, kw_only=True):
    """What a product can be found by.

    Attributes:
        kind: image, frame (of a video), text or vector.
        thumbnail: a path of this server, or null where there is no picture.
        timestamp_ms: of a frame, where in its video it lies.
        flags: what is wrong with the picture, if anything: small, dark, bright, blank or blurred.
    """

    kind: str
    thumbnail: str | None = None
    timestamp_ms: int | None = None
    flags: list[str] = []


class ProductAnswer(Product, frozen=True, kw_only=True):
    """One product that can be found now, with its views and the versions of its groups.

    ``agreement``: how well picture and text agree, -1 to 1; null: not looked at.
    """

    views: list[ProductView]
    agreement: float | None

    content_version: int | None
    offer_version: int | None
    read_token: str


class ProductPage(msgspec.Struct, frozen=True):
    """Products, newest first. ``next_offset`` is where the next page begins, null at the end.

    ``facets``: by field, where any were asked for.
    """

    products: list[Product]
    next_offset: int | None
    facets: dict[str, Facet] | msgspec.UnsetType = msgspec.UNSET


class RegionBoxes(msgspec.Struct, frozen=True):
    """Where objects may be in a picture, most striking first; a box is left, top, width and height, as in ``crop``."""

    boxes: list[Annotated[list[float], msgspec.Meta(min_length=4, max_length=4)]]


class ItemProblem(msgspec.Struct, frozen=True):
    """Why one item of a list was refused."""

    code: str
    detail: str


class PublishedItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one product of a list: ``accepted`` with a read token, or ``rejected`` with a problem."""

    index: int
    status: str
    product_id: str | None = None
    read_token: str | None = None
    problem: ItemProblem | None = None


class PublishAnswer(msgspec.Struct, frozen=True):
    """What was handed to Kafka. Search with ``read_token`` as ``min_offset`` to find all that was accepted."""

    accepted: int
    rejected: int
    read_token: str
    items: list[PublishedItem]


class DeleteAnswer(msgspec.Struct, frozen=True):
    """The deletion was handed to Kafka; search with ``read_token`` as ``min_offset`` to see it gone."""

    product_id: str
    read_token: str


class FeedbackAnswer(msgspec.Struct, frozen=True):
    """The feedback was taken."""

    accepted: bool


class LookedUp(msgspec.Struct, frozen=True, kw_only=True):
    """One product as the index has it, dead ones included; a version is null where the group is absent.

    ``agreement``: how well picture and text agree, -1 to 1; null: not looked at.
    """

    product_id: str
    visible: bool
    content_version: int | None
    offer_version: int | None
    deleted_version: int | None
    product: Product | None = None
    views: list[ProductView] = []
    agreement: float | None = None


class LookupAnswer(msgspec.Struct, frozen=True):
    """The products that the index has ever seen, in the order asked."""

    products: list[LookedUp]
    freshness_met: bool
    freshness: list[ShardFreshness]
    shards: ShardCount
    read_token: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a product is where it is.

    Attributes:
        shown: whether it is among the first k.
        position: from 1, as ranked, or by exact search where it was not retrieved; null beyond the 1,000 best, or
            when it cannot be found at all.
        reason: shown, never-seen, deleted, no-content, no-vector, filtered-out, out-of-stock, below-threshold,
            ranked-out, collapsed-into-duplicate, lost-in-approximate-search or shard-missing.
        detail: the reason in words, with the numbers.
        remedy: the smallest change that would bring it in; null when it is shown.
        stages: what each rank stage contributed to the score.
        rules: names of the business rules that moved it; ``weights``: what counts how much in the score.
        inliers: points of its picture that lie as in the query's; null: not compared.
        threshold: the least similarity of a match for this kind of query; null: none.
        best_similarity: of the best product for this query.
    """

    product_id: str
    shown: bool
    reason: str
    detail: str
    remedy: str | None = None
    position: int | None = None
    similarity: float | None = None
    score: float | None = None
    stages: dict[str, float] = {}
    rules: list[str] = []
    weights: dict[str, float] = {}
    inliers: int | None = None
    source: str | None = None
    threshold: float | None = None
    best_similarity: float | None = None
    product: LookedUp | None = None


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a node last said of itself, ``age_s`` seconds ago."""

    node_id: str
    shard: int
    replica: int
    url: str
    state: str
    generation: int
    products: int
    delta_rows: int
    applied: dict[str, int]
    age_s: float
    answers: bool
    """False when it did not answer since."""


class EncoderReport(msgspec.Struct, frozen=True):
    """The encoder process: ``state`` is ok, unavailable or none."""

    state: str
    space: str
    encoder_id: str | None = None


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the whole as this process sees it. ``lag_ms``: the greatest of any shard; null: none answered.

    ``products``, ``nodes`` and ``facts`` are of all tenants together: null or empty for a key of one tenant.
    """

    lane: str
    space: str
    layout: str
    products: int | None
    lag_ms: int | None
    shards: ShardCount
    freshness: list[ShardFreshness]
    nodes: list[NodeReport]
    encoder: EncoderReport
    facts: int | None
    uptime_s: float


class Ready(msgspec.Struct, frozen=True):
    """Whether searches can be answered, and what is missing."""

    ready: bool
    missing: list[str]


class QualityAnswer(msgspec.Struct, frozen=True):
    """Windows of search quality, newest first; see the topic search-quality."""

    windows: list[SearchQuality]
