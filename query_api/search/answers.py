"""From what shards answer to what callers are told; the types are those of :mod:`schemas.answers`."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from query_api.ranking.ranked import Ranked
from schemas.answers import (
    LookedUp,
    Product,
    ProductView,
    RankFacts,
    RankingFacts,
    Result,
    SearchAnswer,
    ShardCount,
    ShardFreshness,
)
from schemas.shard import ShardHit, ShardProduct, ShardState

__all__ = [
    "THUMBNAIL_SIZES",
    "RankingFacts",
    "Result",
    "SearchAnswer",
    "ShardCount",
    "ShardFreshness",
    "freshness_of",
    "looked_up",
    "product_of",
    "rank_facts",
    "results_of",
    "thumbnail_path",
    "views_of",
]

THUMBNAIL_SIZES = (96, 256, 512)
_THUMBNAIL_SIZE = 256
_DIGITS = 6


def thumbnail_path(tenant: str, content_hash: bytes, size: int = _THUMBNAIL_SIZE) -> str:
    """Where the thumbnail of a picture is served."""
    return f"/v1/thumbnails/{content_hash.hex()}?tenant={tenant}&size={size}"


def product_of(hit: ShardHit, tenant: str) -> Product:
    """The product behind a hit."""
    told = *_shared(hit), None if hit.content_hash is None else thumbnail_path(tenant, hit.content_hash)
    return Product(*told)


def rank_facts(ranked: Ranked) -> RankFacts:
    """What a score is made of."""
    return RankFacts(
        stages={name: round(value, _DIGITS) for name, value in ranked.stages.items()},
        rules=list(ranked.rules),
        inliers=ranked.inliers,
    )


def results_of(ranked: Sequence[Ranked], tenant: str, *, explain: bool = False) -> list[Result]:
    """The results in order, positions from 1; with what each score is made of, if asked to explain."""
    results = []
    for position, each in enumerate(ranked, 1):
        hit = each.hit
        told = *_shared(hit), None if hit.content_hash is None else thumbnail_path(tenant, hit.content_hash)
        results.append(
            Result(
                *told,
                position=position,
                score=each.score,
                similarity=hit.similarity,
                source=hit.source,
                why=rank_facts(each) if explain else msgspec.UNSET,
            )
        )
    return results


def looked_up(product: ShardProduct, tenant: str) -> LookedUp:
    """A product as the fold has it."""
    return LookedUp(
        product_id=product.product_id,
        visible=product.visible,
        content_version=product.content_version,
        offer_version=product.offer_version,
        deleted_version=product.deleted_version,
        product=None if product.hit is None else product_of(product.hit, tenant),
        views=views_of(product, tenant),
        agreement=None if product.hit is None else product.hit.agreement,
    )


def views_of(product: ShardProduct, tenant: str) -> list[ProductView]:
    """The views of a product, in its own order."""
    return [
        ProductView(
            kind=view.kind,
            thumbnail=None if view.content_hash is None else thumbnail_path(tenant, view.content_hash),
            timestamp_ms=view.timestamp_ms,
            flags=list(view.flags),
        )
        for view in product.views
    ]


def freshness_of(states: Iterable[ShardState]) -> list[ShardFreshness]:
    """How fresh each shard was, by shard."""
    return [
        ShardFreshness(
            state.shard,
            state.generation,
            {str(partition): offset for partition, offset in sorted(state.applied.items())},
            state.lag_ms,
            state.stale,
        )
        for state in sorted(states, key=lambda state: state.shard)
    ]


_shared: Callable[[ShardHit], tuple[Any, ...]] = attrgetter(*Product.__struct_fields__[:-1])
"""What shoppers are told of a product lies in a hit under the same names, but for the last: its thumbnail."""
