"""Filters: the JSON that callers write, and the checked tree that nodes evaluate."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from schemas.errors import InvalidQuery
from schemas.fields import Kind, kind_of

Scalar: TypeAlias = bool | int | float | str

CLAUSES_MAX = 64
DEPTH_MAX = 8
VALUES_MAX = 256
CHARS_MAX = 200_000
"""Of all names and texts together: bitmaps are remembered by filter."""
_WHOLE_MAX = 2**53
_BOUNDS = ("gte", "gt", "lte", "lt")


class AnyOf(msgspec.Struct, frozen=True, tag=True, eq=False):
    """The field equals one of the values; for a list of strings: contains one of them.

    Clauses are what bitmaps are remembered by. True equals 1 in Python, and must not in a filter.
    """

    field: str
    values: tuple[Scalar, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnyOf) and self._told_apart() == other._told_apart()

    def __hash__(self) -> int:
        return hash(self._told_apart())

    def _told_apart(self) -> tuple[str, tuple[Scalar, ...], tuple[type, ...]]:
        return self.field, self.values, tuple(map(type, self.values))


class Range(msgspec.Struct, frozen=True, tag=True):
    """The field lies within the bounds that are given."""

    field: str
    gte: int | float | str | None = None
    gt: int | float | str | None = None
    lte: int | float | str | None = None
    lt: int | float | str | None = None


class And(msgspec.Struct, frozen=True, tag=True):
    """Every clause holds."""

    clauses: tuple["Filter", ...]


class Or(msgspec.Struct, frozen=True, tag=True):
    """At least one clause holds."""

    clauses: tuple["Filter", ...]


class Not(msgspec.Struct, frozen=True, tag=True):
    """The clause does not hold; a product without the field passes."""

    clause: "Filter"


Leaf: TypeAlias = AnyOf | Range
Filter: TypeAlias = Leaf | And | Or | Not


def leaves(filter_: Filter | None) -> Iterator[Leaf]:
    """The comparisons that a filter is made of, in order."""
    match filter_:
        case And(clauses) | Or(clauses):
            for clause in clauses:
                yield from leaves(clause)
        case Not(clause):
            yield from leaves(clause)
        case AnyOf() | Range():
            yield filter_


def values_of(leaf: Leaf) -> list[Scalar]:
    """What the field is compared with: the values, or the bounds that are given; at least one."""
    if isinstance(leaf, AnyOf):
        return list(leaf.values)
    return [bound for bound in (leaf.gte, leaf.gt, leaf.lte, leaf.lt) if bound is not None]


def kinds_of(leaf: Leaf) -> set[Kind]:
    """The kinds of what the field is compared with; of a range one."""
    return set(map(kind_of, values_of(leaf)))


def parse_filter(value: Any) -> Filter:
    """The tree of a caller's filter: ``{"brand": ["a", "b"], "price": {"gte": 10}, "not": {…}, "any": [{…}, {…}]}``.

    Keys of one object are combined with *and*; whether fields exist and types fit is for those to say who know the
    products.

    Raises:
        InvalidQuery: the shape is wrong, or it has more than 64 clauses, eight levels or 200,000 characters.
    """
    count = 0

    def parse(value: Any, depth: int) -> Filter:
        nonlocal count
        if not isinstance(value, Mapping) or not value:
            raise InvalidQuery("a filter is a JSON object with at least one key")
        if depth > DEPTH_MAX:
            raise InvalidQuery(f"a filter has at most {DEPTH_MAX} levels")
        count += len(value)
        if count > CLAUSES_MAX:
            raise InvalidQuery(f"a filter has at most {CLAUSES_MAX} clauses")
        clauses = tuple(clause(name, entry, depth) for name, entry in value.items())
        return clauses[0] if len(clauses) == 1 else And(clauses)

    def clause(name: str, entry: Any, depth: int) -> Filter:
        if name == "not":
            return Not(parse(entry, depth + 1))
        if name in ("any", "all") and isinstance(entry, list):
            if not entry:
                raise InvalidQuery(f"{name!r} needs at least one filter")
            clauses = tuple(parse(part, depth + 1) for part in entry)
            return Or(clauses) if name == "any" else And(clauses)
        if isinstance(entry, Mapping):
            return _range(name, entry)
        values = entry if isinstance(entry, list) else [entry]
        if not 1 <= len(values) <= VALUES_MAX or not all(isinstance(each, bool | int | float | str) for each in values):
            raise InvalidQuery(f"filter {name!r} needs a string, number or boolean, or 1 to {VALUES_MAX} of them")
        return AnyOf(name, tuple(_told_apart(name, each) for each in values))

    parsed = parse(value, 1)
    if _chars(parsed) > CHARS_MAX:
        raise InvalidQuery(f"a filter has at most {CHARS_MAX:,} characters")
    return parsed


def _chars(filter_: Filter) -> int:
    """Of all names and texts."""
    return sum(
        len(text) for leaf in leaves(filter_) for text in (leaf.field, *values_of(leaf)) if isinstance(text, str)
    )


def _range(name: str, bounds: Mapping[str, Any]) -> Range:
    unknown = set(bounds) - set(_BOUNDS)
    if unknown or not bounds:
        raise InvalidQuery(f"filter {name!r}: a range has some of {', '.join(_BOUNDS)}, not {sorted(unknown)}")
    for bound in bounds.values():
        if isinstance(bound, bool) or not isinstance(bound, int | float | str):
            raise InvalidQuery(f"filter {name!r}: a bound is a number or a string")
    if len(set(map(kind_of, bounds.values()))) > 1:
        raise InvalidQuery(f"filter {name!r}: the bounds of a range are all numbers or all strings")
    return Range(name, **{bound: _within_64_bits(name, value) for bound, value in bounds.items()})


def _told_apart(name: str, value: Scalar) -> Scalar:
    """The value; numbers are held as doubles, where an integer of more digits equals its neighbours."""
    if isinstance(value, int) and abs(value) > _WHOLE_MAX:
        raise InvalidQuery(f"filter {name!r}: integers beyond 2^53 are not told apart; publish such an id as a string")
    return value


def _within_64_bits(name: str, value: Scalar) -> Scalar:
    """The value; no attribute is an integer beyond 64 bits, and none travels."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidQuery(f"filter {name!r}: {str(value)[:40]} does not fit into 64 bits")
    return value
