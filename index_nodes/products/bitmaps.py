"""Filters as bitmaps: a checked tree, evaluated clause by clause over columns."""

from collections.abc import Callable, Mapping

import numpy as np

from index_nodes.products.columns import PRODUCT_ID, Kind, Leaf
from index_nodes.rows.arrays import Mask
from schemas.errors import FilterType
from schemas.filters import And, AnyOf, Filter, Not, Or, Range, Scalar


def check(clause: Filter, kinds: Mapping[str, Kind]) -> None:
    """Do nothing if every field that exists is compared with values of its kind.

    Args:
        kinds: the fields of the tenant; a field's kind is that of the first value accepted.

    Raises:
        FilterType: naming the field and its kind.
    """
    match clause:
        case And(clauses) | Or(clauses):
            for part in clauses:
                check(part, kinds)
        case Not(part):
            check(part, kinds)
        case AnyOf() | Range():
            if clause.field in kinds:
                _check_values(clause, kinds[clause.field])


def fields_of(clause: Filter | None) -> set[str]:
    """Every field that a filter names."""
    match clause:
        case And(clauses) | Or(clauses):
            return set().union(*map(fields_of, clauses))
        case Not(part):
            return fields_of(part)
        case AnyOf() | Range():
            return {clause.field}
        case None:
            return set()


def _check_values(clause: Leaf, kind: Kind) -> None:
    if isinstance(clause, AnyOf):
        fits = all(_is_of(value, kind) for value in clause.values)
    else:
        if kind is Kind.BOOLEAN or clause.field == PRODUCT_ID:
            raise FilterType(f"{clause.field!r} takes values, not a range")
        bounds = (clause.gte, clause.gt, clause.lte, clause.lt)
        fits = all(bound is None or _is_of(bound, kind) for bound in bounds)
    if not fits:
        raise FilterType(f"{clause.field!r} is a {kind.value}, and the filter compares it with something else")


def _is_of(value: Scalar, kind: Kind) -> bool:
    if isinstance(value, bool):
        return kind is Kind.BOOLEAN
    return kind is (Kind.NUMBER if isinstance(value, int | float) else Kind.STRING)


def evaluate(clause: Filter, leaf: Callable[[Leaf], Mask]) -> Mask:
    """The bitmap of a tree, given that of each leaf. Bitmaps of leaves are not changed."""
    match clause:
        case And(clauses):
            return _reduced(np.logical_and, clauses, leaf)
        case Or(clauses):
            return _reduced(np.logical_or, clauses, leaf)
        case Not(part):
            return ~evaluate(part, leaf)
        case AnyOf() | Range():
            return leaf(clause)


def _reduced(combine: np.ufunc, clauses: tuple[Filter, ...], leaf: Callable[[Leaf], Mask]) -> Mask:
    reduced: Mask = combine.reduce([evaluate(part, leaf) for part in clauses])
    return reduced
