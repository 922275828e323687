"""Attributes as columns: pairs of (where, value) for one field of one tenant and one kind of value, and which pass.

A column holds any number of pairs per product, so a list of strings needs nothing special, and a product without the
field costs nothing. Strings are codes into a dictionary.
"""

import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from index_nodes.products.product import ProductState
from index_nodes.rows.arrays import GrowingArray, Mask, Rows
from schemas.events import AttributeValue
from schemas.fields import BUILT_IN, PRODUCT_ID, Kind, kind_of
from schemas.filters import AnyOf, Leaf, Range, Scalar, kinds_of

KindsOfTenants = dict[str, dict[str, frozenset[Kind]]]
"""Tenant → field → the kinds that its values have."""


def field_values(product_id: str, state: ProductState) -> Iterator[tuple[str, AttributeValue]]:
    """Everything a filter can ask of a visible product; built-in fields hide attributes of the same name."""
    assert state.content is not None
    yield PRODUCT_ID, product_id
    yield "in_stock", state.is_in_stock
    if state.content.title is not None:
        yield "title", state.content.title
    if state.offer is not None:
        for name in ("price", "currency", "stock"):
            if (value := getattr(state.offer, name)) is not None:
                yield name, value
    for name, value in state.attributes.items():
        if name not in BUILT_IN:
            yield name, value


def mask(leaf: Leaf, column_of: Callable[[Kind], "Column | None"], size: int) -> Mask:
    """(size,) bool: which ids have a value that passes, in the columns of the kinds that the leaf compares with.

    A field that nothing has, or nothing of these kinds, passes nowhere: whether it exists in another shard is for the
    asker to know.
    """
    passing, kinds = np.zeros(size, np.bool_), kinds_of(leaf)
    for kind in kinds:
        if (column := column_of(kind)) is not None:
            column.mark(leaf if len(kinds) == 1 else _of_kind(leaf, kind), passing)
    return passing


def _of_kind(leaf: Leaf, kind: Kind) -> AnyOf:
    """What a leaf of several kinds asks of one."""
    assert isinstance(leaf, AnyOf), "the bounds of a range are of one kind"
    return AnyOf(leaf.field, tuple(value for value in leaf.values if kind_of(value) is kind))


class Dictionary(Protocol):
    """The distinct strings of a column by code."""

    def __len__(self) -> int: ...

    def codes_of(self, values: Sequence[Scalar]) -> list[int]:
        """The codes of those values that occur."""
        ...

    def codes_within(self, clause: Range) -> Sequence[int]:
        """The codes of the strings within the bounds, by code point."""
        ...

    def string(self, code: int) -> str:
        """The string of a code."""
        ...


@dataclass(frozen=True)
class Column:
    """Pairs of one field and kind: ``ids`` (m,) int32 ascending, ``values`` (m,) float64 numbers or int32 codes."""

    kind: Kind
    ids: Rows
    values: npt.NDArray[Any]
    dictionary: Dictionary | None = None

    def mark(self, leaf: Leaf, passing: Mask) -> None:
        """Set the ids that have a value which passes. The leaf is of the column's kind."""
        passing[self.ids[self._pairs(leaf)]] = True

    def _pairs(self, clause: Leaf) -> Mask:
        if self.dictionary is None:
            return _numbers_within(self.values, clause) if isinstance(clause, Range) else _among(self.values, clause)
        found = self.dictionary.codes_within(clause) if isinstance(clause, Range) else None
        codes = self.dictionary.codes_of(clause.values) if isinstance(clause, AnyOf) else found
        wanted = np.zeros(len(self.dictionary) + 1, np.bool_)
        wanted[np.asarray(codes, np.int64)] = True
        passing: Mask = wanted[self.values]
        return passing


def _among(values: npt.NDArray[Any], clause: AnyOf) -> Mask:
    return np.isin(values, np.asarray([float(value) for value in clause.values]))


def _numbers_within(values: npt.NDArray[Any], clause: Range) -> Mask:
    passing = np.ones(len(values), np.bool_)
    if clause.gte is not None:
        passing &= values >= float(clause.gte)
    if clause.gt is not None:
        passing &= values > float(clause.gt)
    if clause.lte is not None:
        passing &= values <= float(clause.lte)
    if clause.lt is not None:
        passing &= values < float(clause.lt)
    return passing


class Strings(Protocol):
    """What is needed of a sequence: an Arrow array in a mapped file will do."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> str: ...


class SortedDictionary:
    """Strings in ascending order."""

    def __init__(self, strings: Strings) -> None:
        self._strings = strings

    def __len__(self) -> int:
        return len(self._strings)

    def codes_of(self, values: Sequence[Scalar]) -> list[int]:
        places = [(bisect.bisect_left(self._strings, str(value)), value) for value in values]
        return [place for place, value in places if place < len(self) and self._strings[place] == value]

    def codes_within(self, clause: Range) -> Sequence[int]:
        low, high = 0, len(self)
        if clause.gte is not None:
            low = max(low, bisect.bisect_left(self._strings, str(clause.gte)))
        if clause.gt is not None:
            low = max(low, bisect.bisect_right(self._strings, str(clause.gt)))
        if clause.lte is not None:
            high = min(high, bisect.bisect_right(self._strings, str(clause.lte)))
        if clause.lt is not None:
            high = min(high, bisect.bisect_left(self._strings, str(clause.lt)))
        return range(low, max(low, high))

    def string(self, code: int) -> str:
        return self._strings[code]


class GrowingDictionary:
    """Strings by order of appearance; codes stay what they are."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._strings: list[str] = []

    def __len__(self) -> int:
        return len(self._strings)

    def code(self, value: str) -> int:
        """The code of a string, a new one for a new string."""
        code = self._codes.get(value)
        if code is None:
            code = len(self._strings)
            self._strings.append(value)
            self._codes[value] = code
        return code

    def codes_of(self, values: Sequence[Scalar]) -> list[int]:
        return [self._codes[value] for value in values if value in self._codes]

    def codes_within(self, clause: Range) -> Sequence[int]:
        return [code for code, string in enumerate(list(self._strings)) if _string_within(string, clause)]

    def string(self, code: int) -> str:
        return self._strings[code]


def _string_within(value: str, clause: Range) -> bool:
    return (
        (clause.gte is None or value >= str(clause.gte))
        and (clause.gt is None or value > str(clause.gt))
        and (clause.lte is None or value <= str(clause.lte))
        and (clause.lt is None or value < str(clause.lt))
    )


class GrowingColumn:
    """A column that is appended to, ids ascending, while readers hold its beginning."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._ids = GrowingArray(np.int32, 64)
        self._dictionary = GrowingDictionary() if kind is Kind.STRING else None
        self._codes = GrowingArray(np.int32, 64)
        self._numbers = GrowingArray(np.float64, 64)

    def append(self, where: int, value: AttributeValue) -> None:
        """One more value, or several of a list; ``where`` is not below any before."""
        for each in value if isinstance(value, tuple) else (value,):
            # The value first: a reader takes as many values as there are ids.
            if self._dictionary is not None:
                self._codes.append(self._dictionary.code(str(each)))
            else:
                self._numbers.append(float(each))
            self._ids.append(where)

    def captured(self, size: int) -> Column:
        """The pairs of ids below ``size``."""
        ids = self._ids.captured()
        count = int(np.searchsorted(ids, size))
        values = self._codes if self._dictionary is not None else self._numbers
        return Column(self.kind, ids[:count], values.captured(count), self._dictionary)
