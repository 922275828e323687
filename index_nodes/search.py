"""Answers from one captured view: the k best products over main, graphs and tail, by the same full vectors."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index_nodes.passing import LocalRows, Passing
from index_nodes.product import ProductState
from index_nodes.view import IndexView, Part
from schemas.embeddings import Vector
from schemas.filters import Filter
from schemas.shard import ShardHit, ShardProduct

SCORE_DECIMALS = 6
"""Equal vectors score equally wherever they lie; float16 vectors are not finer than this."""


@dataclass(frozen=True)
class Found:
    """The hits in order, and how many products passed tenant and filter."""

    hits: tuple[ShardHit, ...]
    candidates: int


@dataclass(frozen=True)
class _Candidates:
    """Rows of one part: their slots (m,) and scores (m,)."""

    slots: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    source: str


def search(
    view: IndexView, *, tenant: str, query: Vector | None, k: int, clause: Filter | None = None, exact: bool = False
) -> Found:
    """The min(k, matches) best products of a tenant.

    Args:
        query: (dim,) float32 of unit norm; None: every product that passes, newest content first.
        k: >= 1.
        exact: scan every passing row.

    Returns:
        Hits by similarity descending, then product_id.

    Raises:
        UnknownField, FilterType.
    """
    selection = view.select(tenant, clause)
    if query is None:
        return Found(_newest(view, selection.slots, k), selection.slots.count)
    found = [_best_of(view, part, passing, query, k, exact) for part, passing in selection.parts]
    return Found(_merged(view, found, k), selection.slots.count)


def product(view: IndexView, tenant: str, product_id: str, *, with_vectors: bool) -> ShardProduct | None:
    """One product as the view has it, dead or alive; None if it was never seen."""
    slot = view.find(f"{tenant}/{product_id}".encode())
    if slot is None:
        return None
    state = view.state(slot)
    ranks = state.ranks
    return ShardProduct(
        product_id=product_id,
        visible=state.is_visible,
        content_version=ranks.content.version if ranks.content else None,
        offer_version=ranks.offer.version if ranks.offer else None,
        deleted_version=ranks.deleted.version if ranks.deleted else None,
        hit=hit_of(product_id, state, 0.0, "main") if state.is_visible else None,
        vectors=tuple(view.vector(row).astype("<f2").tobytes() for row in view.rows(slot)) if with_vectors else (),
    )


def hit_of(product_id: str, state: ProductState, similarity: float, source: str) -> ShardHit:
    """A visible product as a hit."""
    content, offer = state.content, state.offer
    assert content is not None, product_id
    return ShardHit(
        product_id=product_id,
        similarity=similarity,
        source=source,
        version=state.version,
        title=content.title,
        description=content.description,
        attributes=state.attributes,
        price=offer.price if offer else None,
        currency=offer.currency if offer else None,
        stock=offer.stock if offer else None,
        in_stock=state.is_in_stock,
        content_hash=next((view.content_hash for view in content.views if view.content_hash), None),
        dup_group=content.dup_group,
    )


def _best_of(view: IndexView, part: Part, passing: Passing, query: Vector, k: int, exact: bool) -> _Candidates:
    """Rows of at least min(k, matches) products of one part, the best among them.

    A product may take several rows, so more are asked for until there are enough products or no more rows.
    """
    wanted = k
    while True:
        rows = part.scan(query, wanted, passing) if exact else part.search(query, wanted, passing)
        slots = view.slots_of(part, rows)
        if wanted >= passing.count or len(set(slots.tolist())) >= k:
            break
        wanted = min(4 * wanted, passing.count)
    return _Candidates(slots, _scores(part, rows, query), part.source)


def _scores(part: Part, rows: LocalRows, query: Vector) -> npt.NDArray[np.float64]:
    # In single precision the last digits depend on where in a block a row lies, and equal rows would change places.
    scores: npt.NDArray[np.float64] = part.vectors_of(rows).astype(np.float64) @ query.astype(np.float64)
    return scores.round(SCORE_DECIMALS)


def _merged(view: IndexView, found: list[_Candidates], k: int) -> tuple[ShardHit, ...]:
    if not found:
        return ()
    slots = np.concatenate([part.slots for part in found])
    scores = np.concatenate([part.scores for part in found])
    sources = np.repeat(np.arange(len(found)), [len(part.slots) for part in found])
    order = np.argsort(-scores, kind="stable")
    _, first = np.unique(slots[order], return_index=True)  # a product counts with the best of its rows
    best = order[np.sort(first)]
    if len(best) > k:
        best = best[scores[best] >= scores[best[k - 1]]]  # ties with the last are decided by key
    ranked = sorted((-scores[row], view.keys.key(int(slots[row])).product_id, row) for row in best.tolist())[:k]
    return tuple(
        hit_of(product_id, view.state(int(slots[row])), float(-score), found[sources[row]].source)
        for score, product_id, row in ranked
    )


def _newest(view: IndexView, passing: Passing, k: int) -> tuple[ShardHit, ...]:
    slots = passing.rows
    versions = view.content_versions(slots)
    if len(slots) > k:
        least = np.partition(versions, -k)[-k]
        slots, versions = slots[versions >= least], versions[versions >= least]
    pairs = zip(versions.tolist(), slots.tolist(), strict=True)
    ranked = sorted((-version, view.keys.key(slot).product_id, slot) for version, slot in pairs)[:k]
    return tuple(
        hit_of(product_id, view.state(slot), 0.0, "main" if slot < view.generation.slots else "tail")
        for _, product_id, slot in ranked
    )
