"""How often each value of a field occurs among the products that pass: exact, from columns and bitmaps."""

import numpy as np
import numpy.typing as npt

from index_nodes.products.columns import Column
from index_nodes.rows.arrays import Mask
from index_nodes.views.selection import Selection
from index_nodes.views.view import IndexView
from schemas.errors import InvalidQuery
from schemas.fields import PRODUCT_ID, Kind
from schemas.filters import Scalar
from schemas.shard import FACET_VALUES_MAX, MIXED, ShardFacet

STRINGS_MAX = 100_000
"""A field with more different strings is none to choose from, and to count it would take seconds."""


def facet(view: IndexView, tenant: str, selection: Selection, name: str) -> ShardFacet:
    """The values of a field that the tenant has, of every kind.

    Raises:
        InvalidQuery: every product has a product_id of its own; or the field has too many values.
    """
    if name == PRODUCT_ID:
        raise InvalidQuery("every product has a product_id of its own: it has no facet")
    slots = selection.slots.mask
    below = slots[: view.generation.slots].copy()
    below[view.overlay.below] = False
    overlay = view.overlay
    above = overlay.current & slots[overlay.slots]
    counted = []
    for kind in sorted(view.kinds(tenant)[name], key=lambda kind: kind.value):
        counts = _Counts(kind)
        fresh = overlay.overlay.column(tenant, name, overlay.count, kind)
        for column, passing in ((view.generation.column(tenant, name, kind), below), (fresh, above)):
            if column is not None:
                if column.dictionary is not None and len(column.dictionary) > STRINGS_MAX:
                    raise InvalidQuery(f"{name!r} has too many values to count: more than {STRINGS_MAX:,}")
                counts.add(column, passing)
        counted.append(counts.result())
    return counted[0] if len(counted) == 1 else _of_several_kinds(counted)


def _of_several_kinds(counted: list[ShardFacet]) -> ShardFacet:
    """The values of all kinds, the most frequent first, then kind by kind."""
    values = sorted((each for facet in counted for each in facet.values), key=lambda each: -each[1])
    return ShardFacet(
        kind=MIXED,
        values=tuple(values[:FACET_VALUES_MAX]),
        distinct=sum(facet.distinct for facet in counted),
        least=next((facet.least for facet in counted if facet.least is not None), None),
        greatest=next((facet.greatest for facet in counted if facet.greatest is not None), None),
    )


class _Counts:
    """Counts of the values of one kind, over several columns."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._parts: list[tuple[npt.NDArray[np.str_] | npt.NDArray[np.float64], npt.NDArray[np.int64]]] = []

    def add(self, column: Column, passing: Mask) -> None:
        """The pairs of a column whose id is set in ``passing``; a product counts once for each of its values."""
        pairs = passing[column.ids]
        ids, values = column.ids[pairs], column.values[pairs]
        if len(ids) and bool((ids[1:] == ids[:-1]).any()):
            distinct = np.unique(np.stack([ids.astype(np.float64), values.astype(np.float64)]), axis=1)
            values = distinct[1].astype(values.dtype)
        found, counts = np.unique(values, return_counts=True)
        if column.dictionary is not None:
            found = np.array([column.dictionary.string(code) for code in found.tolist()], object)
        self._parts.append((found, counts))

    def result(self) -> ShardFacet:
        """All parts together, the most frequent values first, then by value."""
        values = np.concatenate([found for found, _ in self._parts]) if self._parts else np.empty(0)
        counts = np.concatenate([count for _, count in self._parts]) if self._parts else np.empty(0, np.int64)
        distinct, place = np.unique(values, return_inverse=True)
        totals = np.bincount(place, weights=counts, minlength=len(distinct)).astype(np.int64)
        order = np.lexsort((np.arange(len(distinct)), -totals))[:FACET_VALUES_MAX]
        numbers = self._kind is Kind.NUMBER and len(distinct) > 0
        return ShardFacet(
            kind=self._kind.value,
            values=tuple((self._scalar(distinct[at]), int(totals[at])) for at in order.tolist()),
            distinct=len(distinct),
            least=float(distinct[0]) if numbers else None,
            greatest=float(distinct[-1]) if numbers else None,
        )

    def _scalar(self, value: object) -> Scalar:
        if self._kind is Kind.STRING:
            return str(value)
        number = float(value)  # type: ignore[arg-type]
        if self._kind is Kind.BOOLEAN:
            return bool(number)
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
