"""The oracle: the fold of the log in dictionaries, and exact search over it. Slow, plain, and apart from the index.

Rows follow HOLES 2: a view that was live keeps its row (and its vector); one that was not gets a new one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from schemas.embeddings import Vector, from_fp16
from schemas.events import AttributeValue
from schemas.fields import kind_of
from schemas.filters import And, AnyOf, Filter, Not, Or, Range, kinds_of
from schemas.identity import ProductKey
from schemas.index_log import IndexedContent, IndexedOffer, IndexLogRecord
from schemas.join import Ranks, decide

DIM = 8


@dataclass
class Product:
    """What the log says of one product."""

    ranks: Ranks = field(default_factory=Ranks)
    content: IndexedContent | None = None
    offer: IndexedOffer | None = None
    vectors: dict[bytes, bytes] = field(default_factory=dict)

    def apply(self, record: IndexLogRecord) -> None:
        decision = decide(self.ranks, record.ranks)
        self.ranks = decision.after
        if decision.take_content:
            self.content = record.content
        if decision.take_offer:
            self.offer = record.offer
        if decision.after.content is None:
            self.content = None
        if decision.after.offer is None:
            self.offer = None
        named = {} if self.content is None else {view.view_hash: view.vector for view in reversed(self.content.views)}
        if decision.take_content or self.content is None:
            self.vectors = {key: self.vectors.get(key, vector) for key, vector in named.items()}

    @property
    def in_stock(self) -> bool:
        return self.offer is None or self.offer.stock is None or self.offer.stock > 0

    def fields(self, product_id: str) -> dict[str, AttributeValue]:
        assert self.content is not None
        found = dict(self.content.attributes)
        if self.offer is not None:
            found |= self.offer.attributes
            built_in = {"price": self.offer.price, "currency": self.offer.currency, "stock": self.offer.stock}
            found |= {name: value for name, value in built_in.items() if value is not None}
        if self.content.title is not None:
            found["title"] = self.content.title
        return {**found, "product_id": product_id, "in_stock": self.in_stock}


class Oracle:
    """Everything, by key."""

    def __init__(self, records: Iterable[IndexLogRecord] = ()) -> None:
        self.products: dict[ProductKey, Product] = {}
        for record in records:
            self.apply(record)

    def apply(self, record: IndexLogRecord) -> None:
        self.products.setdefault(record.key, Product()).apply(record)

    def visible(self, tenant: str, clause: Filter | None = None) -> dict[str, Product]:
        """The tenant's products that can be found and pass."""
        return {
            key.product_id: product
            for key, product in self.products.items()
            if key.tenant == tenant
            and product.content is not None
            and (clause is None or passes(clause, product.fields(key.product_id)))
        }

    def search(
        self, tenant: str, query: Vector, k: int, clause: Filter | None = None, collapse: bool = False
    ) -> list[tuple[str, float]]:
        """The k best (product, score) of those that pass and have a view; ties by product_id.

        With ``collapse`` the best of each duplicate group only; a product without a group is one by itself.
        """
        scored = []
        for product_id, product in self.visible(tenant, clause).items():
            scores = [
                float(from_fp16(raw, DIM).astype(np.float64) @ query.astype(np.float64))
                for raw in product.vectors.values()
            ]
            if scores:
                assert product.content is not None
                group = product.content.dup_group if collapse else b""
                scored.append((-min(round(max(scores), 6), 1.0), product_id, group or product_id))
        best: dict[bytes | str, tuple[str, float]] = {}
        for score, product_id, group in sorted(scored):
            best.setdefault(group, (product_id, -score))
        return list(best.values())[:k]


def passes(clause: Filter, fields: dict[str, AttributeValue]) -> bool:
    """Whether one product passes a filter."""
    match clause:
        case And(clauses):
            return all(passes(part, fields) for part in clauses)
        case Or(clauses):
            return any(passes(part, fields) for part in clauses)
        case Not(part):
            return not passes(part, fields)
        case AnyOf(name, values):
            return any(
                value == other and kind_of(value) is kind_of(other)
                for value in _values(fields, name)
                for other in values
            )
        case Range():
            return any(_within(value, clause) for value in _values(fields, clause.field))


def _values(fields: dict[str, AttributeValue], name: str) -> tuple[AttributeValue, ...]:
    value = fields.get(name)
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _within(value: AttributeValue, bounds: Range) -> bool:
    if {kind_of(value)} != kinds_of(bounds):
        return False
    return (
        (bounds.gte is None or value >= bounds.gte)  # type: ignore[operator]
        and (bounds.gt is None or value > bounds.gt)  # type: ignore[operator]
        and (bounds.lte is None or value <= bounds.lte)  # type: ignore[operator]
        and (bounds.lt is None or value < bounds.lt)  # type: ignore[operator]
    )
