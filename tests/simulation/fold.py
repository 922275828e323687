"""What the log says, computed once more and otherwise: per product and group, from all its records at once.

The product folds record by record, through ranks and decisions (:mod:`schemas.join`). Here a group is the greatest of
all that were said, and none of that code is used, so that a mistake there cannot hide.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from schemas.embeddings import Vector
from schemas.events import AttributeValue
from schemas.index_log import IndexedContent, IndexedDelete, IndexedOffer, IndexLogRecord
from schemas.join import Rank

G = TypeVar("G", IndexedContent, IndexedOffer, IndexedDelete)


@dataclass(frozen=True)
class Product:
    """A product after some records. ``vectors`` by view hash, in the order of the views."""

    content: IndexedContent | None
    offer: IndexedOffer | None
    deleted: IndexedDelete | None
    deleted_at_ms: int
    vectors: dict[bytes, bytes]

    @property
    def is_in_stock(self) -> bool:
        return self.offer is None or self.offer.stock is None or self.offer.stock > 0

    @property
    def fields(self) -> dict[str, AttributeValue]:
        """What a filter can ask for, as far as this simulation does."""
        content = dict(self.content.attributes) if self.content else {}
        offer = dict(self.offer.attributes) if self.offer else {}
        price = {"price": self.offer.price} if self.offer and self.offer.price is not None else {}
        return {**content, **offer, **price, "in_stock": self.is_in_stock}

    def score(self, query: Vector) -> float:
        """The best of its views."""
        raw = np.stack([np.frombuffer(vector, "<f2") for vector in self.vectors.values()]).astype(np.float64)
        return float((raw @ query.astype(np.float64)).max().round(6).clip(-1, 1))


Fold = dict[str, Product]
"""Every product that was ever spoken of, by ``tenant/product_id``."""


def fold(records: Iterable[IndexLogRecord]) -> Fold:
    """The state after these records, which are in the order of their partitions."""
    by_key: dict[str, list[IndexLogRecord]] = {}
    for record in records:
        by_key.setdefault(f"{record.tenant}/{record.product_id}", []).append(record)
    return {key: fold_product(of_product) for key, of_product in by_key.items()}


def fold_product(records: Sequence[IndexLogRecord]) -> Product:
    """One product: each group is the greatest that was said and is newer than the greatest deletion."""
    deletions = [record for record in records if record.deleted is not None]
    last = max(deletions, key=lambda record: _order(record.deleted), default=None)
    floor = last.deleted.rank.version if last and last.deleted else -1
    content = _greatest([record.content for record in records], floor)
    return Product(
        content=content,
        offer=_greatest([record.offer for record in records], floor),
        deleted=last.deleted if last else None,
        deleted_at_ms=last.source.appended_at if last else 0,
        vectors=_vectors(content),
    )


def _greatest(groups: Iterable[G | None], floor: int) -> G | None:
    alive = [group for group in groups if group is not None and group.rank.version > floor]
    return max(alive, key=_order, default=None)  # the first of equal ones


def _order(group: IndexedContent | IndexedOffer | IndexedDelete | None) -> tuple[int, int, int, bytes]:
    assert group is not None
    rank: Rank = group.rank
    return rank.version, rank.sequence, rank.revision, rank.digest


def _vectors(content: IndexedContent | None) -> dict[bytes, bytes]:
    vectors: dict[bytes, bytes] = {}
    for view in content.views if content else ():
        vectors.setdefault(view.view_hash, view.vector)
    return vectors


def best(
    state: Fold, tenant: str, query: Vector, k: int, passes: Callable[[Product], bool], collapse: bool = False
) -> list[tuple[str, float]]:
    """Exact search: the k best (product_id, score) with a view that pass; ties by product_id.

    With ``collapse`` the best of each duplicate group only; a product without a group is one by itself.
    """
    scored = [
        (-product.score(query), key.partition("/")[2], product.content.dup_group)
        for key, product in state.items()
        if key.startswith(f"{tenant}/") and product.content and product.vectors and passes(product)
    ]
    answers: dict[bytes | str, tuple[str, float]] = {}
    for score, product_id, group in sorted(scored):
        answers.setdefault((collapse and group) or product_id, (product_id, -score))
    return list(answers.values())[:k]
