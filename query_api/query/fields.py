"""Whether the fields of a filter exist and fit, over all shards together and what the tenant declared. Pure."""

from collections.abc import Collection, Mapping, Sequence

from schemas.errors import FilterType, UnknownField
from schemas.fields import BUILT_IN, PRODUCT_ID, Kind
from schemas.filters import Filter, Leaf, Range, kinds_of, leaves
from schemas.shard import ShardAnswer, ShardSearch
from schemas.tenants import ATTRIBUTE_TYPES


def check_declared(filter_: Filter | None, declared: Mapping[str, str]) -> None:
    """Do nothing if every field of one kind, built in or declared, is compared with values of that kind.

    Args:
        filter_: a caller's filter.
        declared: attribute → type, as in :class:`schemas.tenants.TenantDeclaration`.

    Raises:
        FilterType: naming the field and its type.
    """
    for leaf in leaves(filter_):
        name = leaf.field
        if name in BUILT_IN:
            _check_fits(leaf, BUILT_IN[name], f"a {BUILT_IN[name].value}")
        elif name in declared:
            _check_fits(leaf, ATTRIBUTE_TYPES[declared[name]], f"declared as {declared[name]}")


def _check_fits(leaf: Leaf, kind: Kind, said: str) -> None:
    if isinstance(leaf, Range) and (kind is Kind.BOOLEAN or leaf.field == PRODUCT_ID):
        raise FilterType(f"{leaf.field!r} takes values, not a range")
    if kinds_of(leaf) != {kind}:
        raise FilterType(f"{leaf.field!r} is {said}, and the filter compares it with something else")


def check_known(asked: ShardSearch, answers: Sequence[ShardAnswer], declared: Collection[str]) -> None:
    """Do nothing if every field that was asked for is declared, or some shard has values to compare it with.

    A tenant without any product has no fields, and everything may be asked of it.

    Raises:
        UnknownField: naming those that exist.
        FilterType: naming the field and the kinds of its values.
    """
    if any(answer.kinds is None for answer in answers):
        return
    known: dict[str, set[Kind]] = {}
    for answer in answers:
        for name, kinds in (answer.kinds or {}).items():
            known.setdefault(name, set()).update(kinds)
    names = known.keys() | set(declared)
    unknown = {*fields_of(asked.filter), *asked.preferred} - names
    if unknown and names:
        said = " and ".join(map(repr, sorted(unknown)))
        raise UnknownField(f"no product has {said}; fields are {', '.join(sorted(names))}")
    for leaf in leaves(asked.filter):
        has = known.get(leaf.field, set())
        if leaf.field not in declared and has and not kinds_of(leaf) <= has:
            said = " or ".join(sorted(kind.value for kind in has))
            raise FilterType(f"{leaf.field!r} is a {said}, and the filter compares it with something else")


def fields_of(filter_: Filter | None) -> list[str]:
    """The fields that a filter names, in order, each once."""
    return list(dict.fromkeys(leaf.field for leaf in leaves(filter_)))
