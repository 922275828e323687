"""Whether one product passes a filter, and which clause it fails: for why-not, which looks at one product. Pure."""

from schemas.fields import BUILT_IN
from schemas.filters import And, AnyOf, Filter, Not, Or, Range, Scalar
from schemas.shard import ShardHit

_Value = Scalar | tuple[str, ...] | None


def failing_clause(filter_: Filter, hit: ShardHit) -> Filter | None:
    """The first clause that the product fails; None if it passes."""
    if isinstance(filter_, And):
        return next((failed for clause in filter_.clauses if (failed := failing_clause(clause, hit))), None)
    return None if passes(filter_, hit) else filter_


def passes(filter_: Filter, hit: ShardHit) -> bool:
    """Whether the product passes the filter."""
    match filter_:
        case AnyOf(field, values):
            return _equals_any(value_of(hit, field), values)
        case Range():
            return _within(value_of(hit, filter_.field), filter_)
        case And(clauses):
            return all(passes(clause, hit) for clause in clauses)
        case Or(clauses):
            return any(passes(clause, hit) for clause in clauses)
        case Not(clause):
            return not passes(clause, hit)


def value_of(hit: ShardHit, field: str) -> _Value:
    """The value that a filter on this field sees; None where the product has none."""
    if field in BUILT_IN:
        value: _Value = getattr(hit, field)
        return value
    return hit.attributes.get(field)


def in_words(clause: Filter) -> str:
    """The clause as a reader would say it."""
    match clause:
        case AnyOf(field, values):
            return f"{field} is {' or '.join(map(repr, values))}"
        case Range():
            names = {"gte": "≥", "gt": ">", "lte": "≤", "lt": "<"}
            bounds = ((sign, getattr(clause, name)) for name, sign in names.items())
            said = " and ".join(f"{sign} {bound!r}" for sign, bound in bounds if bound is not None)
            return f"{clause.field} {said}"
        case And(clauses):
            return " and ".join(f"({in_words(part)})" for part in clauses)
        case Or(clauses):
            return " or ".join(f"({in_words(part)})" for part in clauses)
        case Not(part):
            return f"not ({in_words(part)})"


def _equals_any(value: _Value, values: tuple[Scalar, ...]) -> bool:
    if isinstance(value, tuple):
        return any(one in values for one in value)
    # First the quick look: rules put this question to hundreds of products in one search.
    return value in values and any(_same(value, other) for other in values)


def _same(one: _Value, other: Scalar) -> bool:
    # True equals 1 in Python, and must not in a filter.
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _within(value: _Value, bounds: Range) -> bool:
    if value is None or isinstance(value, bool | tuple):
        return False
    try:
        return (
            (bounds.gte is None or value >= bounds.gte)  # type: ignore[operator]
            and (bounds.gt is None or value > bounds.gt)  # type: ignore[operator]
            and (bounds.lte is None or value <= bounds.lte)  # type: ignore[operator]
            and (bounds.lt is None or value < bounds.lt)  # type: ignore[operator]
        )
    except TypeError:
        return False
