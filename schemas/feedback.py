"""What shoppers did: searches and clicks on the way out, and what analysts read of them."""

from typing import Literal, get_args

import msgspec

FeedbackKind = Literal["click", "add_to_cart", "purchase", "return", "save", "not_relevant", "report"]
FEEDBACK_KINDS: tuple[str, ...] = get_args(FeedbackKind)


class Shown(msgspec.Struct, frozen=True):
    """One product of an answer; ``position`` from 1."""

    product_id: str
    position: int
    score: float
    arm: str = "default"
    features: tuple[float, ...] = ()
    """What the learned stage was, or would have been, given; NaN for what was not known."""


class Search(msgspec.Struct, frozen=True):
    """One answered search. ``embedding``: dim little-endian float16 of the query."""

    query_id: str
    tenant: str
    searched_at: int
    modality: str
    k: int
    shown: tuple[Shown, ...]
    no_match: bool
    space: str
    freshness_met: bool
    timings_ms: dict[str, float]
    text: str | None = None
    product_id: str | None = None
    filter: str | None = None
    embedding: bytes | None = None
    session: str | None = None
    feature_names: tuple[str, ...] | None = None
    """Of the features of what was shown; None: they were not logged."""


class Click(msgspec.Struct, frozen=True):
    """One thing a shopper did with a shown product."""

    query_id: str
    tenant: str
    product_id: str
    position: int
    kind: FeedbackKind
    clicked_at: int
    dwell_ms: int | None = None
    session: str | None = None


class PositionQuality(msgspec.Struct, frozen=True):
    """Click-through rate of one position."""

    position: int
    shown: int
    clicks: int
    ctr: float


class SearchQuality(msgspec.Struct, frozen=True):
    """One window of one tenant and arm; a later revision of the same window replaces an earlier one."""

    tenant: str
    arm: str
    window_start: int
    window_end: int
    revision: int
    searches: int
    zero_results: int
    abandoned: int
    clicks: int
    carts: int
    purchases: int
    positions: tuple[PositionQuality, ...]


class TrainingPair(msgspec.Struct, frozen=True):
    """A query and a product that a shopper chose for it; ``weight`` > 0."""

    query_id: str
    tenant: str
    product_id: str
    kind: FeedbackKind
    position: int
    weight: float
    space: str
    clicked_at: int
    text: str | None = None
    embedding: bytes | None = None
