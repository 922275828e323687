"""Filters as bitmaps, evaluated clause by clause over columns."""

from collections.abc import Callable

import numpy as np

from index_nodes.rows.arrays import Mask
from schemas.filters import And, AnyOf, Filter, Leaf, Not, Or, Range


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
