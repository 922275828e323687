"""Answers from one captured view: the k best products over main, graphs and tail, by the same full vectors."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from index_nodes.generations.generation import Generation
from index_nodes.products.hits import hit_of
from index_nodes.rows.exact import TIE
from index_nodes.rows.passing import LocalRows, Nearest, Passing, Scores
from index_nodes.views.facets import facet
from index_nodes.views.hot_searches import HotSearches, Question, digest_of
from index_nodes.views.selection import Part
from index_nodes.views.view import IndexView
from schemas.embeddings import Vector
from schemas.filters import Filter
from schemas.index_log import IndexedView
from schemas.shard import ShardFacet, ShardHit, ShardProduct, ShardView

SCORE_DECIMALS = 6
"""Equal vectors score equally wherever they lie; float16 vectors are not finer than this."""


class Found(msgspec.Struct, frozen=True):
    """The hits in order, how many products passed tenant and filter, and counts of the values of some fields."""

    hits: tuple[ShardHit, ...]
    candidates: int
    facets: dict[str, ShardFacet] = {}


class _Candidates(msgspec.Struct, frozen=True):
    """Rows of one part with their scores and slots (m,); of those with one of ``units`` only the best is shown."""

    part: Part
    rows: LocalRows
    scores: Scores
    slots: npt.NDArray[np.int64]
    units: list[Any]


class _How(msgspec.Struct, frozen=True):
    """How parts are searched."""

    k: int
    exact: bool
    collapse: bool
    effort: float

    def search(self, part: Part, query: Vector, wanted: int, passing: Passing) -> Nearest:
        if self.exact:
            return part.exact.search(query, wanted, passing)
        if isinstance(part, Generation):
            return part.search(query, wanted, passing, self.effort)
        return part.search(query, wanted, passing)


class _Asked(msgspec.Struct, frozen=True):
    """One search: what is asked of which view, and where what was found before is kept."""

    view: IndexView
    tenant: str
    clause: Filter | None
    query: Vector
    how: _How
    hot: HotSearches | None
    in_main: Callable[[], Nearest] | None

    def rows(self, part: Part, wanted: int, passing: Passing) -> Nearest:
        """The nearest rows of one part, from what is kept where that is the generation."""
        if not isinstance(part, Generation):
            return self.how.search(part, self.query, wanted, passing)
        search: Callable[[], Nearest] = partial(self.how.search, part, self.query, wanted, passing)
        if self.in_main is not None and wanted == self.how.k:
            search = self.in_main
        if self.hot is None:
            return search()
        question = Question(self.tenant, digest_of(self.query, self.clause), wanted, self.how.exact, self.how.effort)
        return self.hot.search(self.view, question, self.query, passing, search)


def search(
    view: IndexView,
    *,
    tenant: str,
    query: Vector | None,
    k: int,
    clause: Filter | None = None,
    exact: bool = False,
    collapse: bool = False,
    with_vectors: bool = False,
    facets: Sequence[str] = (),
    effort: float = 1.0,
    hot: HotSearches | None = None,
    in_main: Callable[[], Nearest] | None = None,
) -> Found:
    """The min(k, matches) best products of a tenant.

    Args:
        query: (dim,) float32 of unit norm; None: every product that passes, newest content first.
        k: >= 1.
        exact: compare every passing row.
        collapse: of products with one ``dup_group`` only the best that passes; a product without one is its own group.
        with_vectors: each hit with the vector of its best row.
        facets: fields whose values are counted over all products that pass.
        effort: the share of the usual work that may be done in an approximate index, above 0.
        hot: what earlier searches found in the generation; without it all is searched.
        in_main: gives the ``k`` nearest passing rows of the generation, see :mod:`together`.

    Returns:
        Hits by similarity descending, then product_id.

    Raises:
        InvalidQuery: a facet that cannot be counted.
    """
    selection = view.select(tenant, clause)
    counted = {name: facet(view, tenant, selection, name) for name in facets if name in view.kinds(tenant)}
    if query is None:
        return Found(_newest(view, selection.slots, k, collapse), selection.products, counted)
    asked = _Asked(view, tenant, clause, query, _How(k, exact, collapse, effort), hot, in_main)
    found = [_best_of(asked, part, passing) for part, passing in selection.parts]
    return Found(_ranked(view, found, query, k, with_vectors), selection.products, counted)


def product(view: IndexView, tenant: str, product_id: str, *, with_vectors: bool) -> ShardProduct | None:
    """One product as the view has it, dead or alive; None if it was never seen."""
    key = f"{tenant}/{product_id}".encode()
    slot = view.find(key)
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
        hit=hit_of(key, state) if state.is_visible else None,
        vectors=tuple(view.vector(row).astype("<f2").tobytes() for row in view.rows(slot)) if with_vectors else (),
        views=tuple(_shown(each) for each in state.views),
    )


def _shown(view: IndexedView) -> ShardView:
    return ShardView(
        kind=view.kind,
        content_hash=view.content_hash,
        phash=view.phash,
        timestamp_ms=view.timestamp_ms,
        flags=view.flags,
    )


def _best_of(asked: _Asked, part: Part, passing: Passing) -> _Candidates:
    """Rows of at least min(k, matches) products (or groups) of one part, the best among them.

    A product may take several rows and a group many products, so more are asked for until there are enough, or no
    more rows.
    """
    view, how = asked.view, asked.how
    wanted = how.k
    while True:
        rows, scores = asked.rows(part, wanted, passing)
        slots = view.slots_of(part, rows)
        units: list[Any] = view.groups_of(slots) if how.collapse else slots.tolist()
        if len(set(units)) >= how.k or wanted >= passing.count:
            return _Candidates(part, rows, scores, slots, units)
        wanted = min(4 * wanted, passing.count)


def _ranked(
    view: IndexView, found: list[_Candidates], query: Vector, k: int, with_vectors: bool
) -> tuple[ShardHit, ...]:
    """The k best units of all parts, and of each its best product."""
    found = [each for each in found if each.units]
    if not found:
        return ()
    first, is_alone = found[0], len(found) == 1
    units = first.units if is_alone else [unit for each in found for unit in each.units]
    scored = first.scores if is_alone else np.concatenate([each.scores for each in found])
    places = _leading(scored, units, k, is_ordered=is_alone)
    slots = (first.slots if is_alone else np.concatenate([each.slots for each in found]))[places].tolist()
    vectors, sources = _at(found, places)
    # In single precision the last digits depend on where in a block a row lies, and equal rows would change places.
    exact = vectors.astype(np.float64) @ query.astype(np.float64)
    # Vectors rest in 16 bits, so a product and itself may come out a little above 1.
    scores: list[float] = np.minimum(np.maximum(exact.round(SCORE_DECIMALS), -1.0), 1.0).tolist()
    best = _firsts(_in_order(scores, slots, view.keys.raw), [units[place] for place in places])[:k]
    hits = [
        replace(hit, similarity=scores[nth], source=sources[nth])
        for hit, nth in zip(view.hits([slots[nth] for nth in best]), best, strict=True)
    ]
    if with_vectors:
        raw = vectors[best].astype("<f2")
        hits = [replace(hit, vector=row.tobytes()) for hit, row in zip(hits, raw, strict=True)]
    return tuple(hits)


def _in_order(scores: list[float], slots: list[int], key_of: Callable[[int], bytes]) -> list[int]:
    """Places by score, the greatest first; equal scores by key. Keys are looked up only where scores are equal."""
    places = range(len(scores))
    if len(set(scores)) == len(scores):
        return sorted(places, key=scores.__getitem__, reverse=True)
    return sorted(places, key=lambda place: (-scores[place], key_of(slots[place])))


def _firsts(order: list[int], units: list[Any]) -> list[int]:
    """Of the places in order, those that are the first of their unit."""
    if len(set(units)) == len(units):  # the usual case
        return order
    first: dict[Any, int] = {}
    for place in order:
        first.setdefault(units[place], place)
    return list(first.values())


def _leading(found: Scores, units: list[Any], k: int, *, is_ordered: bool) -> list[int]:
    """The places of the first k units by score, and of those that tie with the last; ties are decided by key."""
    scores: list[float] = found.tolist()
    order: list[int] = list(range(len(scores))) if is_ordered else np.argsort(-found).tolist()
    firsts = _firsts(order, units)
    if len(firsts) < k:
        return order
    end, least = order.index(firsts[k - 1]) + 1, scores[firsts[k - 1]] - TIE
    while end < len(order) and scores[order[end]] >= least:
        end += 1
    return order[:end]


def _at(found: list[_Candidates], places: list[int]) -> tuple[npt.NDArray[np.float16], list[str]]:
    """The vectors (m, dim) and sources of the rows at some places among all candidates."""
    if len(found) == 1:
        part, rows = found[0].part, found[0].rows
        return part.vectors[rows[places]], [part.source] * len(places)
    which = [(each.part, row) for each in found for row in each.rows.tolist()]
    chosen = [which[place] for place in places]
    return np.array([part.vectors[row] for part, row in chosen]), [part.source for part, _ in chosen]


def _newest(view: IndexView, passing: Passing, k: int, collapse: bool) -> tuple[ShardHit, ...]:
    slots = passing.rows
    versions = view.content_versions(slots)
    if len(slots) > k and not collapse:
        # A back-fill gives all its products one version: only the first of these by key can be among the k.
        least = np.partition(versions, -k)[-k]
        *ordered, others = view.generation.in_key_order(slots[versions == least])
        slots = np.concatenate([slots[versions > least], *(part[:k] for part in ordered), others])
        versions = view.content_versions(slots)
    units: list[Any] = view.groups_of(slots) if collapse else slots.tolist()
    keys = [view.keys.raw(slot) for slot in slots.tolist()]
    best: dict[Any, ShardHit] = {}
    for _, _, slot, unit in sorted(zip((-versions).tolist(), keys, slots.tolist(), units, strict=True)):
        if len(best) == k:
            break
        if unit not in best:
            source = "main" if slot < view.generation.slots else "tail"
            best[unit] = replace(view.hit(slot), source=source)
    return tuple(best.values())
