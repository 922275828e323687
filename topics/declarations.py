"""What exists in Kafka: one declaration per topic.

A name here is logical; ``KafkaSettings.topic(name)`` gives the name on the cluster, with prefix and lane.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from schemas.lane import DEFAULT_LANE
from schemas.layout import Layout

Cleanup = Literal["delete", "compact"]

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
DAY_MS = 24 * _HOUR_MS
FOREVER_MS = -1

LATENESS_MS = 7 * DAY_MS
"""How much older than its retention a redelivered event may be and still find its product's tombstone."""
TOMBSTONE_MS = 46 * DAY_MS
"""How long a tombstone lives in the generations, counted from the broker's time of the delete."""

_KIB = 1024
INPUT_BYTES_MAX = 12 * _KIB * _KIB
"""The largest event a catalogue may send: a picture of 8 MiB in base64 fits."""
RETRY_BYTES_MAX = INPUT_BYTES_MAX + 64 * _KIB
MESSAGE_BYTES_MAX = RETRY_BYTES_MAX + 64 * _KIB
"""The largest record of any topic: a dead letter carries a whole input and what is said about it."""
INDEX_RECORD_BYTES_MAX = 4 * _KIB * _KIB

PRODUCT_ADDED = "product-added"
PRODUCT_ADDED_HOT = "product-added-hot"
PRODUCT_DELETED = "product-deleted"
INDEX_LOG = "index-log"
INDEX_PROGRESS = "index-progress"
NODE_STATUS = "node-status"
PRODUCT_RETRY = "product-retry"
SEARCHES = "searches"
CLICKS = "clicks"
SEARCH_QUALITY = "search-quality"
TRAINING_PAIRS = "training-pairs"
DEAD_LETTERS = "dead-letters"
ADDS = (PRODUCT_ADDED, PRODUCT_ADDED_HOT)
"""The topics of ProductAdded events: the catalogue's, and the lane of those few that go ahead of it."""
INPUTS = (*ADDS, PRODUCT_DELETED)
"""The topics that catalogues write to, and that a read token may name."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it must exist on the cluster."""

    name: str
    description: str
    schema: str
    """The ``schemas/<schema>.avsc`` of its values."""
    key: str
    """What its record keys are, in words."""
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    partitions: int
    retention_ms: int
    """-1: for ever."""
    segment_ms: int = DAY_MS
    cleanup: Cleanup = "delete"
    record_bytes_max: int = _KIB * _KIB
    versioned: bool = False
    """Carries versions of products: compaction would bring deleted ones back, so it is refused."""
    per_lane: bool = False
    """Each embedding lane has its own."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Further Kafka settings."""

    def __post_init__(self) -> None:
        assert not (self.versioned and self.cleanup == "compact"), self.name
        assert self.partitions >= 1, self.name
        assert self.segment_ms <= DAY_MS, "a segment lives as long as its newest record: keep it short"

    def full_name(self, prefix: str = "", lane: str = DEFAULT_LANE) -> str:
        """The name on the cluster; the default lane adds nothing."""
        suffix = f".{lane}" if self.per_lane and lane != DEFAULT_LANE else ""
        return f"{prefix}{self.name}{suffix}"

    def kafka_config(self) -> dict[str, str]:
        """Every setting that we declare, as Kafka writes it."""
        return {
            # The broker's clock: a producer's old timestamp must not make retention remove an unread event.
            "message.timestamp.type": "LogAppendTime",
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms),
            "retention.bytes": "-1",
            "segment.ms": str(self.segment_ms),
            "max.message.bytes": str(self.record_bytes_max),
            "unclean.leader.election.enable": "false",
            **self.config,
        }


_LAYOUT = Layout()
_ALL = (
    Topic(
        name=PRODUCT_ADDED,
        description="A product, or its new picture, text, attributes or price, as a catalogue publishes it",
        schema="product-added",
        key="tenant/product_id",
        producers=("catalogue", "query_api"),
        consumers=("embed worker",),
        partitions=8,
        retention_ms=7 * DAY_MS,
        record_bytes_max=INPUT_BYTES_MAX,
        versioned=True,
    ),
    Topic(
        name=PRODUCT_ADDED_HOT,
        description="The same for the few products that cannot wait: read ahead of everything on `product-added`",
        schema="product-added",
        key="tenant/product_id",
        producers=("catalogue", "query_api"),
        consumers=("embed worker",),
        partitions=8,
        retention_ms=7 * DAY_MS,
        record_bytes_max=INPUT_BYTES_MAX,
        versioned=True,
    ),
    Topic(
        name=PRODUCT_DELETED,
        description="A product that must no longer be found",
        schema="product-deleted",
        key="tenant/product_id",
        producers=("catalogue", "query_api"),
        consumers=("delete worker",),
        partitions=8,
        # Longer than an add can live (retention and segment time), or a re-read would miss the delete.
        retention_ms=9 * DAY_MS,
        versioned=True,
    ),
    Topic(
        name=INDEX_LOG,
        description="The truth: what the index holds is the fold of this log",
        schema="index-log",
        key="tenant/product_id",
        producers=("embed worker", "delete worker"),
        consumers=("index node", "compactor"),
        partitions=_LAYOUT.partitions,
        # Only the compactor truncates it, below the oldest retained generation.
        retention_ms=FOREVER_MS,
        record_bytes_max=INDEX_RECORD_BYTES_MAX,
        versioned=True,
        per_lane=True,
    ),
    Topic(
        name=INDEX_PROGRESS,
        description="Facts: all of a source below W has its effect in index-log below X",
        schema="index-progress",
        key="source topic and partition",
        producers=("embed worker", "delete worker"),
        consumers=("query_api",),
        partitions=1,
        retention_ms=_HOUR_MS,
        segment_ms=10 * _MINUTE_MS,
    ),
    Topic(
        name=NODE_STATUS,
        description="What each index node serves and how far it has applied the log",
        schema="node-status",
        key="node id",
        producers=("index node",),
        consumers=("query_api", "compactor"),
        partitions=1,
        retention_ms=FOREVER_MS,
        segment_ms=_HOUR_MS,
        cleanup="compact",
    ),
    Topic(
        name=PRODUCT_RETRY,
        description="Events whose picture was not there yet, and replayed dead letters; version resolved",
        schema="product-retry",
        key="tenant/product_id",
        producers=("embed worker", "dead-letters replay"),
        consumers=("embed worker",),
        partitions=8,
        retention_ms=7 * DAY_MS,
        segment_ms=_HOUR_MS,
        record_bytes_max=RETRY_BYTES_MAX,
        versioned=True,
        per_lane=True,
    ),
    Topic(
        name=SEARCHES,
        description="What was asked and what was shown",
        schema="searches",
        key="query_id",
        producers=("query_api",),
        consumers=("feedback worker", "analysts"),
        partitions=8,
        retention_ms=30 * DAY_MS,
    ),
    Topic(
        name=CLICKS,
        description="What a shopper did with a result",
        schema="clicks",
        key="query_id",
        producers=("query_api",),
        consumers=("feedback worker", "analysts"),
        partitions=8,
        retention_ms=30 * DAY_MS,
    ),
    Topic(
        name=SEARCH_QUALITY,
        description="Windows of click-through by position, zero results, abandonment and conversion",
        schema="search-quality",
        key="window",
        producers=("feedback worker",),
        consumers=("analysts", "query_api"),
        partitions=1,
        retention_ms=90 * DAY_MS,
    ),
    Topic(
        name=TRAINING_PAIRS,
        description="Cleaned pairs of query and product to learn from",
        schema="training-pairs",
        key="query_id",
        producers=("feedback worker",),
        consumers=("training",),
        partitions=8,
        retention_ms=90 * DAY_MS,
    ),
    Topic(
        name=DEAD_LETTERS,
        description="Records that could not be processed, with code, reason and position",
        schema="dead-letters",
        key="the original key",
        producers=("embed worker", "delete worker", "feedback worker"),
        consumers=("operators",),
        partitions=8,
        retention_ms=30 * DAY_MS,
        record_bytes_max=MESSAGE_BYTES_MAX,
        versioned=True,
    ),
)

TOPICS: Mapping[str, Topic] = MappingProxyType({topic.name: topic for topic in _ALL})
"""Every topic by its logical name, for the default layout."""


def declared(layout: Layout) -> dict[str, Topic]:
    """Every topic by its logical name, with ``index-log`` in the partitions of this layout."""
    return {**TOPICS, INDEX_LOG: replace(TOPICS[INDEX_LOG], partitions=layout.partitions)}
