"""Why is this product here, and why is that one not: one product walked through every stage of a search."""

from dataclasses import dataclass

import numpy as np

from query_api import answers
from query_api.identity import Caller
from query_api.matching import failing_clause, fields_of, in_words, value_of
from query_api.query_vector import QueryVector
from query_api.rank import Ranked, rank
from query_api.search import RETRIEVED_MAX, Retrieved, Searcher
from query_api.search_request import Query
from schemas.embeddings import Vector, from_fp16
from schemas.errors import ShardUnavailable
from schemas.shard import ShardProduct

DEPTH = RETRIEVED_MAX
"""How far down an exact search is followed; beyond, the position is not told."""


@dataclass(frozen=True, slots=True)
class _Walk:
    """What is known about a product and a query: enough to say why."""

    tenant: str
    query: Query
    product: ShardProduct | None
    similarity: float | None
    found: list[Ranked]
    exact: list[Ranked]
    threshold: float | None
    is_partial: bool


class Explainer:
    """Answers ``/v1/explain`` and ``/v1/why-not``; asks the shards as a search does, and exactly besides."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    async def explain(self, caller: Caller, query: Query, product_id: str) -> answers.Explanation:
        """Where the product stands for this query, and why; raises as a search does."""
        search = self._searcher
        vectors, tenant = search.vectors, caller.tenant
        found = await vectors.resolve(query, tenant, timeout_s=query.timeout_ms / 1000)
        try:
            product = await vectors.product(product_id, tenant, with_vectors=True)
        except ShardUnavailable as error:
            return _unreachable(product_id, error)
        approximate = await self._retrieve(caller, query, found, query.k, exact=query.exact)
        # Not collapsed: there a product that another one stands for still has its place.
        exact = await self._retrieve(caller, query, found, DEPTH, exact=True, collapse=False)
        walk = _Walk(
            tenant=tenant,
            query=query,
            product=product,
            similarity=best_similarity(product, found.vector, search.lane.space.dim),
            found=rank(approximate.hits, query.k),
            exact=rank(exact.hits, DEPTH),
            threshold=search.thresholds.of(query.modality),
            is_partial=approximate.shards.is_partial,
        )
        return _explanation(walk, product_id)

    async def _retrieve(
        self, caller: Caller, query: Query, found: QueryVector, k: int, *, exact: bool, collapse: bool | None = None
    ) -> Retrieved:
        return await self._searcher.retrieve(
            caller, query, found, k=k, timeout_ms=query.timeout_ms, exact=exact, collapse=collapse
        )


def best_similarity(product: ShardProduct | None, vector: Vector | None, dim: int) -> float | None:
    """The greatest inner product over the product's rows; None without rows or without a query vector."""
    if product is None or vector is None or not product.vectors:
        return None
    rows = np.stack([from_fp16(raw, dim) for raw in product.vectors])
    return float((rows @ vector).max())


def _explanation(walk: _Walk, product_id: str) -> answers.Explanation:
    reason, detail, remedy = _why(walk, product_id)
    place = _position(walk.found, product_id) if reason == "shown" else _position(walk.exact, product_id)
    ranked = next((each for each in [*walk.found, *walk.exact] if each.hit.product_id == product_id), None)
    return answers.Explanation(
        product_id=product_id,
        shown=reason == "shown",
        reason=reason,
        detail=detail,
        remedy=remedy,
        position=place,
        similarity=_rounded(ranked.hit.similarity if ranked else walk.similarity),
        score=_rounded(ranked.score if ranked else None),
        stages={name: round(value, 6) for name, value in ranked.stages.items()} if ranked else {},
        source=ranked.hit.source if ranked else None,
        threshold=walk.threshold,
        best_similarity=_rounded(walk.found[0].hit.similarity if walk.found else None),
        product=None if walk.product is None else answers.looked_up(walk.product, walk.tenant),
    )


def _why(walk: _Walk, product_id: str) -> tuple[str, str, str | None]:
    """(reason, in words, the smallest change that would bring it in), by the first stage that stops it."""
    hit = walk.product.hit if walk.product else None
    if walk.product is None or not walk.product.visible or hit is None:
        return _why_not_visible(walk.product, product_id)
    if walk.query.filter is not None and (clause := failing_clause(walk.query.filter, hit)):
        has = ", ".join(f"{field}={value_of(hit, field)!r}" for field in fields_of(clause))
        return "filtered-out", f"the filter wants {in_words(clause)}, and the product has {has}", "drop that clause"
    if walk.query.modality != "filter" and walk.similarity is None:
        return "no-vector", "it has no picture or vector to compare with", "publish it with a picture"
    best = walk.found[0].hit.similarity if walk.found else None
    if walk.threshold is not None and best is not None and best < walk.threshold:
        said = f"nothing is similar enough: the best has {best:.4f}, a match needs {walk.threshold:.4f}"
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
    k = walk.query.k
    if place := _position(walk.found, product_id):
        return "shown", f"it is at position {place} of {k}", None
    if walk.query.collapse and (other := _stand_in(walk)):
        said = f"{other!r} has the same picture and stands for it"
        return "collapsed-into-duplicate", said, 'search without "collapse"'
    place = _position(walk.exact, product_id)
    if place is None:
        return "ranked-out", f"more than {DEPTH} products are more similar", "a narrower filter, or a closer picture"
    if place <= k:
        said = f"exact search puts it at position {place}, and the approximate indexes missed it"
        return "lost-in-approximate-search", said, 'search with "exact": true'
    return "ranked-out", f"it is at position {place}, and k is {k}", f"k of at least {place}"


def _stand_in(walk: _Walk) -> str | None:
    """The product shown for the duplicate group of the one asked about."""
    group = walk.product.hit.dup_group if walk.product and walk.product.hit else b""
    return next((each.hit.product_id for each in walk.found if group and each.hit.dup_group == group), None)


def _unreachable(product_id: str, error: ShardUnavailable) -> answers.Explanation:
    said = f"the shard that holds it does not answer: {error.message}"
    return answers.Explanation(
        product_id=product_id, shown=False, reason="shard-missing", detail=said, remedy="try again when it is back"
    )


def _position(ranked: list[Ranked], product_id: str) -> int | None:
    return next((place for place, each in enumerate(ranked, 1) if each.hit.product_id == product_id), None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
