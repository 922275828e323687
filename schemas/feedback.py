"""What shoppers did: searches and clicks on the way out, and what analysts read of them."""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

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

    position: Annotated[int, Meta(description="Place in the answer, from 1.", examples=[1])]
    shown: Annotated[int, Meta(description="How often something was shown there.", examples=[420])]
    clicks: Annotated[int, Meta(description="How often it was clicked on.", examples=[63])]
    ctr: Annotated[float, Meta(description="Clicks by shown.", examples=[0.15])]


class SearchQuality(msgspec.Struct, frozen=True):
    """One window of one tenant and arm; a later revision of the same window replaces an earlier one."""

    tenant: Annotated[str, Meta(description="Whose searches.", examples=["default"])]
    arm: Annotated[str, Meta(description="The ranking that was tried.", examples=["default"])]
    window_start: Annotated[int, Meta(description="Microseconds since 1970.", examples=[1795200000000000])]
    window_end: Annotated[int, Meta(description="Microseconds since 1970.", examples=[1795200060000000])]
    revision: Annotated[int, Meta(description="Counts how often the window was reckoned anew.", examples=[2])]
    searches: Annotated[int, Meta(description="Answered searches.", examples=[420])]
    zero_results: Annotated[int, Meta(description="Of these, without a result.", examples=[12])]
    abandoned: Annotated[int, Meta(description="Of these, followed by nothing.", examples=[180])]
    clicks: Annotated[int, Meta(description="Clicks on results.", examples=[95])]
    carts: Annotated[int, Meta(description="Results put into a cart.", examples=[14])]
    purchases: Annotated[int, Meta(description="Results bought.", examples=[6])]
    positions: Annotated[tuple[PositionQuality, ...], Meta(description="By place in the answer.")]


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
