"""Counts of values over all shards: their sum, since a product lives in one of them. Pure."""

from collections import Counter
from collections.abc import Sequence

from schemas.answers import Facet, FacetValue
from schemas.filters import Scalar
from schemas.shard import MIXED, ShardFacet

SHOWN_MAX = 100
"""Values that an answer names."""


def merged(
    parts: Sequence[dict[str, ShardFacet]], names: Sequence[str], *, is_partial: bool = False
) -> dict[str, Facet]:
    """The facets asked for, in that order; a field that no product has is without values.

    ``is_partial``: a shard did not answer, so that no count is exact.
    """
    return {name: _merged([part[name] for part in parts if name in part], is_partial) for name in names}


def _merged(parts: Sequence[ShardFacet], is_partial: bool) -> Facet:
    # By type too: 1, 1.0 and True are one key in Python. Numbers are one kind, so that 1 and 1.0 may meet.
    counts: Counter[tuple[bool, Scalar]] = Counter()
    for part in parts:
        counts.update({(isinstance(value, bool), value): count for value, count in part.values})
    ordered = sorted(counts.items(), key=lambda each: (-each[1], str(type(each[0][1])), each[0][1]))
    # Of one shard the first are exact, however many were left out; of several a value may be missing in any.
    is_exact = not is_partial and (len(parts) == 1 or all(part.distinct == len(part.values) for part in parts))
    return Facet(
        kind=_kind({part.kind for part in parts}),
        values=[FacetValue(value, count) for (_, value), count in ordered[:SHOWN_MAX]],
        distinct=len(counts) if is_exact and len(parts) > 1 else max((part.distinct for part in parts), default=0),
        exact=is_exact,
        least=min((part.least for part in parts if part.least is not None), default=None),
        greatest=max((part.greatest for part in parts if part.greatest is not None), default=None),
    )


def _kind(kinds: set[str]) -> str | None:
    return next(iter(kinds), None) if len(kinds) < 2 else MIXED
