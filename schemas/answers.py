"""What callers of the query API are told: the JSON bodies of its answers, as the API writes and clients read them.

Descriptions and examples are those of the OpenAPI document, which makes the example of a whole from those of its parts.
"""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from schemas.events import Attributes
from schemas.feedback import SearchQuality
from schemas.filters import Scalar

ProductId = Annotated[str, Meta(description="The product's id within its tenant.", examples=["dress-7"])]
Version = Annotated[
    int,
    Meta(description="Microseconds since 1970, or a sequence, as the tenant declared.", examples=[1795200000000000]),
]
_TOKEN = "kZOwYzE6cHJvZHVjdC1hZGRlZK1wcm9kdWN0LWFkZGVkgQAp"
ReadToken = Annotated[
    str,
    Meta(
        description="All that the answer knows of; as `min_offset` of a search, it shows no less.",
        examples=[_TOKEN],
    ),
]
Thumbnail = Annotated[
    str | None,
    Meta(
        description="Path of the thumbnail on this server; null without a picture.",
        examples=["/v1/thumbnails/01010101010101010101010101010101?tenant=default&size=256"],
    ),
]
Agreement = Annotated[
    float | None,
    Meta(description="How well picture and text agree, -1 to 1; null: not looked at.", examples=[0.31]),
]
Shard = Annotated[int, Meta(description="Number of the shard, from 0.", examples=[0])]
Generation = Annotated[int, Meta(description="The main index that is served.", examples=[3])]
Applied = Annotated[
    dict[str, int], Meta(description="By partition of index-log: the next offset.", examples=[{"0": 1042}])
]
Stages = Annotated[
    dict[str, float],
    Meta(description="What each stage gave to the score; they add up to it.", examples=[{"visual": 0.83}]),
]
Rules = Annotated[list[str], Meta(description="Business rules that moved it.", examples=[["boost-summer"]])]
Inliers = Annotated[
    int | None,
    Meta(description="Points of its picture that lie as in the query's; null: not compared.", examples=[34]),
]
Weights = Annotated[
    dict[str, float],
    Meta(description="What counts how much in the score.", examples=[{"visual": 1.0, "attributes": 0.2}]),
]
Similarity = Annotated[float, Meta(description="Cosine of its best view and the query.", examples=[0.83])]
FreshnessMet = Annotated[
    bool, Meta(description="It is at least as fresh as `min_offset`; true where none was given.", examples=[True])
]


class Problem(Struct, frozen=True, omit_defaults=True):
    """The body of every answer with a status of 400 and above."""

    type: Annotated[
        str, Meta(description="Where the code is explained, on this server.", examples=["/docs#unknown-field"])
    ]
    title: Annotated[
        str, Meta(description="What the code means, always the same.", examples=["A body field that does not exist"])
    ]
    status: Annotated[int, Meta(description="The HTTP status.", examples=[400])]
    code: Annotated[str, Meta(description="Stable, kebab-case: what a program decides by.", examples=["unknown-field"])]
    detail: Annotated[
        str,
        Meta(
            description="What happened this time, and the way out.", examples=["Object contains unknown field `txet`"]
        ),
    ]
    items: Annotated[
        Any,
        Meta(description="Of a refused list of products: what became of each, as in `PublishAnswer`.", examples=[[]]),
    ] = None


class Product(Struct, frozen=True):
    """A product as shoppers see it."""

    product_id: ProductId
    version: Version
    title: Annotated[str | None, Meta(description="Its title.", examples=["Red dress"])] = None
    description: Annotated[str | None, Meta(description="Its description.", examples=["A red summer dress"])] = None
    attributes: Annotated[
        Attributes,
        Meta(
            description="All that a filter can name, the offer included.", examples=[{"color": "red", "in_stock": True}]
        ),
    ] = {}
    price: Annotated[float | None, Meta(description="In `currency`.", examples=[25.0])] = None
    currency: Annotated[str | None, Meta(description="Of the price, as published.", examples=["EUR"])] = None
    stock: Annotated[int | None, Meta(description="How many there are; null: not said.", examples=[4])] = None
    in_stock: Annotated[bool, Meta(description="Whether it can be had.", examples=[True])] = True
    thumbnail: Thumbnail = None


class RankFacts(Struct, frozen=True, kw_only=True):
    """Why a result is where it is."""

    stages: Stages
    rules: Rules = []
    inliers: Inliers = None


class RankingFacts(Struct, frozen=True, kw_only=True):
    """How an answer was ranked."""

    weights: Weights
    diversity: Annotated[float, Meta(description="0: the best first; 1: as different as can be.", examples=[0.2])]
    rules_version: Annotated[int, Meta(description="Of the business rules; 0: there are none.", examples=[0])]
    retrieved: Annotated[int, Meta(description="Products that were retrieved to be ranked.", examples=[500])]


class Result(Product, frozen=True, kw_only=True):
    """A product found."""

    position: Annotated[int, Meta(description="Its place, from 1; name it in feedback.", examples=[1])]
    score: Annotated[float, Meta(description="What orders the answer.", examples=[0.83])]
    similarity: Similarity
    source: Annotated[str, Meta(description="Where its best view lies: main, graph or tail.", examples=["tail"])]
    why: Annotated[RankFacts | UnsetType, Meta(description="With `explain`: what the score is made of.")] = UNSET


class ShardFreshness(Struct, frozen=True):
    """How fresh one shard's part of the answer is."""

    shard: Shard
    generation: Generation
    applied: Applied
    lag_ms: Annotated[int, Meta(description="How far it is behind the log.", examples=[12])]
    stale: Annotated[bool, Meta(description="It is further behind than is allowed.", examples=[False])]


class ShardCount(Struct, frozen=True):
    """How many shards took part; fewer than all means a partial answer."""

    answered: Annotated[int, Meta(description="Shards that answered in time.", examples=[1])]
    total: Annotated[int, Meta(description="Shards that there are.", examples=[1])]


class FacetValue(Struct, frozen=True):
    """A value, and how many of the products that pass have it."""

    value: Annotated[Scalar, Meta(description="A value of the field.", examples=["red"])]
    count: Annotated[int, Meta(description="Products that have it.", examples=[12])]


class Facet(Struct, frozen=True, kw_only=True):
    """How often each value of a field occurs among all products that pass the filter, found or not."""

    kind: Annotated[
        str | None,
        Meta(
            description="boolean, number or string, mixed where the field has values of several of these; "
            "null: no product asked has the field.",
            examples=["string"],
        ),
    ]
    values: Annotated[
        list[FacetValue],
        Meta(description="The 100 most frequent, then by value; a list counts once for each of its values."),
    ]
    distinct: Annotated[int, Meta(description="How many values there are.", examples=[2])]
    exact: Annotated[
        bool,
        Meta(description="False: a value is too rare to be named by every shard; counts may be low.", examples=[True]),
    ]
    least: Annotated[float | None, Meta(description="The least of numbers; null for others.", examples=[9.5])] = None
    greatest: Annotated[
        float | None, Meta(description="The greatest of numbers; null for others.", examples=[25.0])
    ] = None


Facets = Annotated[
    dict[str, Facet] | UnsetType,
    Meta(
        description="By field, where any were asked for.",
        examples=[
            {"color": {"kind": "string", "values": [{"value": "red", "count": 12}], "distinct": 1, "exact": True}}
        ],
    ),
]


class RegionAnswer(Struct, frozen=True):
    """What was found for one object of the picture."""

    box: Annotated[
        tuple[float, float, float, float],
        Meta(description="Left, top, width and height, as `crop` takes them.", examples=[[0.1, 0.2, 0.3, 0.5]]),
    ]
    results: Annotated[list[Result], Meta(description="What looks like it, best first.")]
    no_match: Annotated[bool, Meta(description="Nothing is similar enough to it.", examples=[False])]


class SearchAnswer(Struct, frozen=True, kw_only=True):
    """The answer to a search."""

    query_id: Annotated[str, Meta(description="Name it in feedback.", examples=["3f0c2a"])]
    results: Annotated[list[Result], Meta(description="At most `k`, best first.")]
    no_match: Annotated[
        bool,
        Meta(description="Nothing is similar enough, or passes the filter; `results` is empty then.", examples=[False]),
    ]
    total_candidates: Annotated[int, Meta(description="Products considered by all shards.", examples=[500])]
    freshness_met: FreshnessMet
    read_token: ReadToken
    freshness: Annotated[list[ShardFreshness], Meta(description="Of each shard that answered.")]
    shards: Annotated[ShardCount, Meta(description="How many took part; fewer than all: a partial answer.")]
    timings_ms: Annotated[
        dict[str, float],
        Meta(description="By stage, and in all.", examples=[{"encode": 5.1, "search": 1.2, "rank": 0.3, "total": 7.0}]),
    ]
    warnings: Annotated[
        list[str],
        Meta(
            description="Each begins with a stable word and a colon.",
            examples=[["picture-blurred: it is out of focus"]],
        ),
    ]
    ranking: Annotated[RankingFacts | UnsetType, Meta(description="With `explain`: how it was ranked.")] = UNSET
    limited_matches: Annotated[
        list[Result] | UnsetType,
        Meta(description="With `limited_matches`, and where there is no match: the nearest there is."),
    ] = UNSET
    facets: Facets = UNSET
    regions: Annotated[
        list[RegionAnswer] | UnsetType,
        Meta(description="With `regions`: what was found for each object of the picture, most striking first."),
    ] = UNSET


class BatchItem(Struct, frozen=True, omit_defaults=True):
    """What became of one search of a batch: its answer or its problem."""

    status: Annotated[int, Meta(description="The HTTP status that it would have had alone.", examples=[200])]
    answer: Annotated[SearchAnswer | None, Meta(description="Where the status is 200.")] = None
    problem: Annotated[Problem | None, Meta(description="Where it is another.", examples=[None])] = None


class BatchAnswer(Struct, frozen=True):
    """What became of the searches of a batch."""

    answers: Annotated[list[BatchItem], Meta(description="In the order asked.")]


class ProductView(Struct, frozen=True, kw_only=True):
    """What a product can be found by."""

    kind: Annotated[str, Meta(description="image, frame (of a video), text or vector.", examples=["image"])]
    thumbnail: Thumbnail = None
    timestamp_ms: Annotated[
        int | None, Meta(description="Of a frame: where in its video it lies.", examples=[1500])
    ] = None
    flags: Annotated[
        list[str],
        Meta(description="What is wrong with the picture: small, dark, bright, blank or blurred.", examples=[["dark"]]),
    ] = []


Views = Annotated[list[ProductView], Meta(description="What it can be found by, pictures first.")]


class ProductAnswer(Product, frozen=True, kw_only=True):
    """One product that can be found now, with its views and the versions of its groups."""

    views: Views
    agreement: Agreement

    content_version: Annotated[
        int | None, Meta(description="Of text, attributes and views.", examples=[1795200000000000])
    ]
    offer_version: Annotated[
        int | None, Meta(description="Of price and stock; null: none was published.", examples=[1795200000000001])
    ]
    read_token: ReadToken


class ProductPage(Struct, frozen=True):
    """Products, newest first."""

    products: Annotated[list[Product], Meta(description="At most `limit`, newest first.")]
    next_offset: Annotated[int | None, Meta(description="Where the next page begins; null at the end.", examples=[50])]
    shards: Annotated[ShardCount, Meta(description="Where fewer answered than there are, products are missing.")]
    facets: Facets = UNSET


class RegionBoxes(Struct, frozen=True):
    """Where objects may be in a picture."""

    boxes: Annotated[
        list[Annotated[list[float], Meta(min_length=4, max_length=4)]],
        Meta(
            description="Most striking first; left, top, width and height, as `crop` takes them.",
            examples=[[[0.1, 0.2, 0.3, 0.5]]],
        ),
    ]


class ItemProblem(Struct, frozen=True):
    """Why one item of a list was refused."""

    code: Annotated[str, Meta(description="As of a problem.", examples=["content-without-view"])]
    detail: Annotated[
        str, Meta(description="What is wrong, and the way out.", examples=["this line has no picture, video or vector"])
    ]


class PublishedItem(Struct, frozen=True, omit_defaults=True):
    """What became of one product of a list."""

    index: Annotated[int, Meta(description="Its place in the list, from 0.", examples=[0])]
    status: Annotated[str, Meta(description="accepted or rejected.", examples=["accepted"])]
    product_id: Annotated[str | None, Meta(description="Its id; null where it has none.", examples=["mug-1"])] = None
    read_token: Annotated[
        str | None,
        Meta(
            description="Of an accepted one: met once it can be found.",
            examples=[_TOKEN],
        ),
    ] = None
    problem: Annotated[ItemProblem | None, Meta(description="Of a rejected one: why.", examples=[None])] = None


class PublishAnswer(Struct, frozen=True):
    """What was handed to Kafka."""

    accepted: Annotated[int, Meta(description="Products that Kafka has.", examples=[1])]
    rejected: Annotated[int, Meta(description="Products that were refused.", examples=[0])]
    read_token: Annotated[
        str,
        Meta(
            description="As `min_offset` of a search: met once all can be found.",
            examples=[_TOKEN],
        ),
    ]
    items: Annotated[list[PublishedItem], Meta(description="In the order sent.")]


class DeleteAnswer(Struct, frozen=True):
    """The deletion was handed to Kafka."""

    product_id: ProductId
    read_token: Annotated[
        str,
        Meta(
            description="As `min_offset` of a search: met once it is gone.",
            examples=[_TOKEN],
        ),
    ]


class FeedbackAnswer(Struct, frozen=True):
    """What became of the feedback."""

    accepted: Annotated[bool, Meta(description="False: a full buffer dropped it.", examples=[True])]


class LookedUp(Struct, frozen=True, kw_only=True):
    """One product as the index has it, dead ones included."""

    product_id: ProductId
    visible: Annotated[bool, Meta(description="Whether it can be found.", examples=[True])]
    content_version: Annotated[
        int | None, Meta(description="Of text, attributes and views; null: absent.", examples=[1795200000000000])
    ]
    offer_version: Annotated[int | None, Meta(description="Of price and stock; null: absent.", examples=[None])]
    deleted_version: Annotated[int | None, Meta(description="Of its deletion; null: never.", examples=[None])]
    product: Annotated[Product | None, Meta(description="As shoppers see it; null where they cannot.")] = None
    views: Views = []
    agreement: Agreement = None


class LookupAnswer(Struct, frozen=True):
    """Those of the products that the index has ever seen."""

    products: Annotated[list[LookedUp], Meta(description="In the order asked, without those never seen.")]
    freshness_met: FreshnessMet
    freshness: Annotated[list[ShardFreshness], Meta(description="Of each shard that answered.")]
    shards: Annotated[ShardCount, Meta(description="How many took part; fewer than all: some products may be missing.")]
    read_token: ReadToken


class Explanation(Struct, frozen=True, kw_only=True):
    """Why a product is where it is."""

    product_id: ProductId
    shown: Annotated[bool, Meta(description="Whether it is among the first `k`.", examples=[False])]
    reason: Annotated[
        str,
        Meta(
            description="shown, never-seen, deleted, no-content, blocked, asked-about, filtered-out, out-of-stock, "
            "no-vector, picture-shows-nothing, below-threshold, ranked-out, collapsed-into-duplicate, "
            "lost-in-approximate-search or shard-missing.",
            examples=["deleted"],
        ),
    ]
    detail: Annotated[
        str, Meta(description="The reason in words, with the numbers.", examples=["it was deleted at version 9"])
    ]
    remedy: Annotated[
        str | None,
        Meta(
            description="The smallest change that would bring it in; null when it is shown.",
            examples=["publish it with a version greater than 9"],
        ),
    ] = None
    position: Annotated[
        int | None,
        Meta(
            description="From 1, as ranked, or by exact search where it was not retrieved; null beyond the 1,000 best, "
            "or when it cannot be found at all.",
            examples=[12],
        ),
    ] = None
    similarity: Annotated[float | None, Meta(description="Of its best view and the query.", examples=[0.71])] = None
    score: Annotated[float | None, Meta(description="What orders the answer.", examples=[0.71])] = None
    stages: Stages = {}
    rules: Rules = []
    weights: Weights = {}
    inliers: Inliers = None
    source: Annotated[str | None, Meta(description="Where its best view lies.", examples=["main"])] = None
    threshold: Annotated[
        float | None,
        Meta(description="The least similarity of a match for this kind of query; null: none.", examples=[0.55]),
    ] = None
    best_similarity: Annotated[float | None, Meta(description="Of the best product.", examples=[0.83])] = None
    product: Annotated[LookedUp | None, Meta(description="As the index has it; null: never seen.")] = None


class NodeReport(Struct, frozen=True, kw_only=True):
    """What a node last said of itself."""

    node_id: Annotated[str, Meta(description="Its name.", examples=["n0"])]
    shard: Shard
    replica: Annotated[int, Meta(description="Which of the shard's replicas, from 0.", examples=[0])]
    url: Annotated[str, Meta(description="Where it is asked.", examples=["http://127.0.0.1:8100"])]
    state: Annotated[str, Meta(description="See docs/states.md.", examples=["serving"])]
    generation: Generation
    products: Annotated[int, Meta(description="Products that it serves, of all tenants.", examples=[2000])]
    delta_rows: Annotated[int, Meta(description="Rows newer than its generation.", examples=[120])]
    applied: Applied
    age_s: Annotated[
        float | None,
        Meta(description="How long ago it said so; null: before this process listened.", examples=[0.2]),
    ]
    answers: Annotated[bool, Meta(description="False: it did not answer since.", examples=[True])]


class EncoderReport(Struct, frozen=True):
    """The encoder process."""

    state: Annotated[str, Meta(description="ok, unavailable or none.", examples=["ok"])]
    space: Annotated[str, Meta(description="The embedding space, with its dimension.", examples=["bundled-2:256"])]
    encoder_id: Annotated[
        str | None, Meta(description="Of its weights and preprocessing.", examples=["5e1f0c77d2a94b13"])
    ] = None


class StatusAnswer(Struct, frozen=True, kw_only=True):
    """The state of the whole as this process sees it."""

    lane: Annotated[str, Meta(description="The lane that is served.", examples=["main"])]
    space: Annotated[str, Meta(description="Its embedding space, with the dimension.", examples=["bundled-2:256"])]
    layout: Annotated[str, Meta(description="Partitions and shards of its log.", examples=["p8s1"])]
    products: Annotated[int | None, Meta(description="Of all tenants; null for a key of one tenant.", examples=[2000])]
    lag_ms: Annotated[int | None, Meta(description="The greatest of any shard; null: none answered.", examples=[5])]
    shards: Annotated[ShardCount, Meta(description="How many answered.")]
    freshness: Annotated[list[ShardFreshness], Meta(description="Of each shard that answered.")]
    nodes: Annotated[list[NodeReport], Meta(description="What they last said; empty for a key of one tenant.")]
    encoder: Annotated[EncoderReport, Meta(description="What encodes queries.")]
    facts: Annotated[
        int | None, Meta(description="Known facts of index-progress; null for a key of one tenant.", examples=[12])
    ]
    uptime_s: Annotated[float, Meta(description="How long this process runs.", examples=[81.5])]


class Ready(Struct, frozen=True):
    """Whether searches can be answered."""

    ready: Annotated[bool, Meta(description="False goes with the status 503.", examples=[True])]
    missing: Annotated[list[str], Meta(description="What is missing: shards, the encoder.", examples=[[]])]


class QualityAnswer(Struct, frozen=True):
    """Windows of search quality; see the topic search-quality."""

    windows: Annotated[list[SearchQuality], Meta(description="Newest first.")]
