"""Why is this product here, and why is that one not: one product walked through every stage of a search."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from query_api.access.identity import Caller
from query_api.query.fields import fields_of
from query_api.query.matching import failing_clause, in_words, value_of
from query_api.query.request import Query
from query_api.ranking.ranked import Ranked
from query_api.ranking.stages import Pool
from query_api.search import answers
from query_api.search.pipeline import RETRIEVED_MAX, RankedSearch, Searcher, shows_nothing
from schemas.answers import Explanation, RankFacts
from schemas.embeddings import Vector, from_fp16
from schemas.errors import ShardUnavailable
from schemas.shard import ShardHit, ShardProduct

DEPTH = RETRIEVED_MAX
"""How far down an exact search is followed; beyond, the position is not told."""


@dataclass(frozen=True, slots=True)
class _Walk:
    """What is known about a product and a query: enough to say why.

    Attributes:
        similarity: of the product's best view.
        search: what the search itself retrieved and how it ranked it, beyond the first k.
        exact: the most similar by exact search, duplicates and all.
        is_asked_about: the query names the product itself.
        shows_nothing: the query's pictures are blank or noise.
    """

    tenant: str
    query: Query
    product: ShardProduct | None
    similarity: float | None
    search: RankedSearch
    exact: list[ShardHit]
    is_stock_hidden: bool
    is_blocked: bool
    is_asked_about: bool
    shows_nothing: bool

    @property
    def pool(self) -> Pool:
        """The candidates as ranked."""
        return self.search.outcome.pool

    def ranked(self, product_id: str) -> Ranked | None:
        """The product as ranked, if it was retrieved."""
        return next((each for each in self.pool if each.hit.product_id == product_id), None)


class Explainer:
    """Answers ``/v1/explain`` and ``/v1/why-not``; asks the shards as a search does, and exactly besides."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    async def explain(self, caller: Caller, query: Query, product_id: str) -> Explanation:
        """Where the product stands for this query, and why; raises as a search does."""
        search = self._searcher
        vectors, tenant = search.vectors, caller.tenant
        found = await vectors.resolve(query, tenant, timeout_s=query.timeout_ms / 1000)
        try:
            product = await vectors.product(product_id, tenant, with_vectors=True)
        except ShardUnavailable as error:
            return _unreachable(product_id, error)
        started = search.clock.monotonic()
        ranked = await search.ranked(
            caller, query, found, left_ms=lambda: query.timeout_ms - (search.clock.monotonic() - started) * 1000
        )
        # Not collapsed: there a product that another one stands for still has its place.
        exact = await search.retrieve(
            caller, query, found, k=DEPTH, timeout_ms=query.timeout_ms, exact=True, collapse=False, cut=ranked.cut
        )
        hit = product.hit if product else None
        walk = _Walk(
            tenant=tenant,
            query=query,
            product=product,
            similarity=best_similarity(product, found.vector, search.lane.space.dim),
            search=ranked,
            exact=exact.hits,
            is_stock_hidden=search.ranker.settings.out_of_stock == "hidden",
            is_blocked=hit is not None and search.is_blocked(tenant, hit.dup_group),
            is_asked_about=product_id in found.exclude,
            shows_nothing=shows_nothing(query, found),
        )
        return _explanation(walk, product_id)


def best_similarity(product: ShardProduct | None, vector: Vector | None, dim: int) -> float | None:
    """The greatest inner product over the product's rows; None without rows or without a query vector."""
    if product is None or vector is None or not product.vectors:
        return None
    rows = np.stack([from_fp16(raw, dim) for raw in product.vectors])
    return float((rows @ vector).max())


def _explanation(walk: _Walk, product_id: str) -> Explanation:
    reason, detail, remedy = _why(walk, product_id)
    ranked = walk.ranked(product_id)
    facts = answers.rank_facts(ranked) if ranked else RankFacts(stages={})
    return Explanation(
        product_id=product_id,
        shown=reason == "shown",
        reason=reason,
        detail=detail,
        remedy=remedy,
        position=_place_in(walk.pool, product_id) or _position(walk.exact, product_id),
        similarity=_rounded(ranked.hit.similarity if ranked else walk.similarity),
        score=_rounded(ranked.score if ranked else None),
        stages=facts.stages,
        rules=facts.rules,
        weights=walk.search.asked.options.weights._asdict(),
        inliers=facts.inliers,
        source=ranked.hit.source if ranked else None,
        threshold=walk.search.asked.threshold,
        best_similarity=_rounded(walk.search.best),
        product=None if walk.product is None else answers.looked_up(walk.product, walk.tenant),
    )


def _why(walk: _Walk, product_id: str) -> tuple[str, str, str | None]:
    """(reason, in words, the smallest change that would bring it in), by the first stage that stops it."""
    hit = walk.product.hit if walk.product else None
    if walk.product is None or not walk.product.visible or hit is None:
        return _why_not_visible(walk.product, product_id)
    if walk.is_blocked:
        return (
            "blocked",
            "its picture looks like one of the block list",
            "`freshlens blocklist` shows and removes entries",
        )
    if walk.is_asked_about:
        return "asked-about", "the search asks for others like it", "another product to begin with"
    if walk.query.filter is not None and (clause := failing_clause(walk.query.filter, hit)):
        has = ", ".join(f"{field}={value_of(hit, field)!r}" for field in fields_of(clause))
        return "filtered-out", f"the filter wants {in_words(clause)}, and the product has {has}", "drop that clause"
    if walk.is_stock_hidden and not hit.in_stock:
        return "out-of-stock", "what is out of stock is not shown here", "publish an offer with stock"
    if walk.query.modality != "filter" and walk.similarity is None:
        return "no-vector", "it has no picture or vector to compare with", "publish it with a picture"
    if walk.shows_nothing:
        return "picture-shows-nothing", "the picture is blank or noise", "a picture that shows the product"
    best, threshold = walk.search.best, walk.search.asked.threshold
    if threshold is not None and best is not None and best < threshold:
        said = f"nothing is similar enough: the best has {best:.4f}, a match needs {threshold:.4f}"
        return "below-threshold", said, "a picture that shows the product more clearly, or a crop"
    return _why_position(walk, product_id)


def _why_not_visible(product: ShardProduct | None, product_id: str) -> tuple[str, str, str | None]:
    if product is None:
        said = f"the index has never seen {product_id!r} in this tenant: not published, not processed yet, or rejected"
        return "never-seen", said, "publish it; `freshlens dead-letters list` shows what was rejected"
    if product.deleted_version is not None:
        said = f"it was deleted at version {product.deleted_version}"
        return "deleted", said, f"publish it with a version greater than {product.deleted_version}"
    said = "only its offer (price, stock) is known; there is no content yet"
    return "no-content", said, "publish its content: title, attributes and pictures"


def _why_position(walk: _Walk, product_id: str) -> tuple[str, str, str | None]:
    k, retrieved = walk.query.k, walk.search.plan.retrieved
    ranked_at = _place_in(walk.pool, product_id)
    if ranked_at is not None and ranked_at <= k:
        return "shown", f"it is at position {ranked_at} of {k}", None
    if walk.search.plan.collapse and (other := _stand_in(walk)):
        said = f"{other!r} has the same picture and stands for it"
        return "collapsed-into-duplicate", said, 'search without "collapse"'
    if ranked_at is not None:
        return _why_ranked_out(walk, product_id, ranked_at)
    place = _position(walk.exact, product_id)
    if place is None:
        return "ranked-out", f"more than {DEPTH} products are more similar", "a narrower filter, or a closer picture"
    if place <= retrieved:
        said = f"exact search puts it at position {place}, and the approximate indexes missed it"
        return "lost-in-approximate-search", said, 'search with "exact": true'
    if retrieved == k:
        return "ranked-out", f"it is at position {place}, and k is {k}", f"k of at least {place}"
    said = f"it is at position {place} by similarity, and {retrieved} candidates are retrieved and ranked"
    return "ranked-out", said, "a narrower filter, or a closer picture"


def _why_ranked_out(walk: _Walk, product_id: str, place: int) -> tuple[str, str, str]:
    k = walk.query.k
    said = f"it is at position {place}, and k is {k}"
    ranked, last = walk.ranked(product_id), walk.pool[k - 1]
    assert ranked is not None
    stage = decisive(ranked, last)
    if stage is None:
        return "ranked-out", said, f"k of at least {place}"
    given, others = ranked.stages.get(stage, 0.0), last.stages.get(stage, 0.0)
    said += f"; {stage} gave it {given:+.4f}, and {others:+.4f} to {last.hit.product_id!r}, the last that is shown"
    return "ranked-out", said, f"{_WITHOUT.get(stage, f'no {stage}')}, or k of at least {place}"


_WITHOUT = {
    "attributes": 'a search without "prefer", or with "weights": {"attributes": 0}',
    "personal": 'a search with "personalise": false',
    "fresh": 'a search with "weights": {"fresh": 0}',
    "agreement": "a title that fits its picture",
    "diversity": 'a search with "diversity": 0',
    "geometry": 'a search with "verify": false',
    "boost": "other business rules",
    "bury": "other business rules",
    "pin": "other business rules",
    "stock": "an offer with stock",
    "learned": "another model",
}


def decisive(ranked: Ranked, last: Ranked) -> str | None:
    """The one stage without which a product would stand before another one; of several that of the greatest effect.

    None when only being more similar helps.
    """
    gap = last.score - ranked.score
    effects = {
        name: last.stages.get(name, 0.0) - ranked.stages.get(name, 0.0)
        for name in ranked.stages.keys() | last.stages.keys()
        if name != "visual"
    }
    enough = [(effect, name) for name, effect in effects.items() if effect > max(gap, 0.0)]
    return max(enough)[1] if enough else None


def _stand_in(walk: _Walk) -> str | None:
    """The product shown for the duplicate group of the one asked about."""
    hit = walk.product.hit if walk.product else None
    shown = [each.hit for each in walk.pool[: walk.query.k]]
    if hit is None or not hit.dup_group:
        return None
    return next((each.product_id for each in shown if each.dup_group == hit.dup_group), None)


def _unreachable(product_id: str, error: ShardUnavailable) -> Explanation:
    said = f"the shard that holds it does not answer: {error.message}"
    return Explanation(
        product_id=product_id, shown=False, reason="shard-missing", detail=said, remedy="try again when it is back"
    )


def _place_in(pool: Pool, product_id: str) -> int | None:
    return _position([ranked.hit for ranked in pool], product_id)


def _position(hits: Sequence[ShardHit], product_id: str) -> int | None:
    return next((place for place, hit in enumerate(hits, 1) if hit.product_id == product_id), None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
