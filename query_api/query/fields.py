"""Whether the fields of a filter exist and fit, over all shards together and what the tenant declared. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from schemas.errors import FilterType, UnknownField
from schemas.filters import And, AnyOf, Filter, Not, Or, Range, Scalar
from schemas.shard import ShardAnswer


def check_declared(filter_: Filter | None, declared: Mapping[str, str]) -> None:
    """Do nothing if every declared attribute is compared with values of its declared type.

    Args:
        filter_: a caller's filter.
        declared: attribute → type, as in :class:`schemas.tenants.TenantDeclaration`.

    Raises:
        FilterType: naming the attribute and its type.
    """
    for leaf in _leaves(filter_):
        kind = declared.get(leaf.field)
        if kind is None:
            continue
        if isinstance(leaf, Range) and kind == "boolean":
            raise FilterType(f"{leaf.field!r} takes values, not a range")
        if not all(_fits(value, kind) for value in _values(leaf)):
            raise FilterType(f"{leaf.field!r} is declared as {kind}, and the filter compares it with something else")


def check_known(answers: Sequence[ShardAnswer], declared: Iterable[str]) -> None:
    """Do nothing if every field that was asked for exists in some shard, or is declared.

    A tenant without any product has no fields, and everything may be asked of it.

    Raises:
        UnknownField: naming those that exist.
    """
    if not answers:
        return
    nowhere = set.intersection(*(set(answer.unknown_fields) for answer in answers)) - set(declared)
    known = {field for answer in answers for field in answer.fields} | set(declared)
    if nowhere and known:
        said = " and ".join(repr(field) for field in sorted(nowhere))
        raise UnknownField(f"no product has {said}; fields are {', '.join(sorted(known))}")


def fields_of(filter_: Filter | None) -> set[str]:
    """The fields that a filter names."""
    return {leaf.field for leaf in _leaves(filter_)}


def _leaves(filter_: Filter | None) -> Iterable[AnyOf | Range]:
    match filter_:
        case And(clauses) | Or(clauses):
            for clause in clauses:
                yield from _leaves(clause)
        case Not(clause):
            yield from _leaves(clause)
        case AnyOf() | Range():
            yield filter_


def _values(leaf: AnyOf | Range) -> list[Scalar]:
    if isinstance(leaf, AnyOf):
        return list(leaf.values)
    return [bound for bound in (leaf.gte, leaf.gt, leaf.lte, leaf.lt) if bound is not None]


def _fits(value: Scalar, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return kind in (("integer", "number") if isinstance(value, int | float) else ("string", "strings"))
