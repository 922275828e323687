"""Counts of values: the same as counting by hand, wherever products lie and however they changed."""

import random
from collections import Counter

import pytest

from index_nodes.views import facets
from index_nodes.views.search import search
from schemas.errors import InvalidQuery
from schemas.events import AttributeValue
from schemas.filters import AnyOf, Filter, Not, Range
from schemas.shard import FACET_VALUES_MAX, MIXED, ShardFacet
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index

COLOURS = ("red", "blue", "green", "with, comma")
FIELDS = ("colour", "tags", "size", "price", "in_stock")


def counted(index: Index, clause: Filter | None, *names: str) -> dict[str, ShardFacet]:
    return search(index.view, tenant="default", query=None, k=1, clause=clause, facets=names).facets


def by_hand(index: Index, clause: Filter | None, name: str) -> dict[object, int]:
    """Every product that passes, looked at one by one."""
    counts: Counter[object] = Counter()
    for hit in search(index.view, tenant="default", query=None, k=1_000, clause=clause).hits:
        value = getattr(hit, name) if name in ("price", "in_stock") else hit.attributes.get(name)
        values = set(value) if isinstance(value, tuple) else {value} - {None}
        counts.update(values)
    return dict(counts)


@pytest.mark.parametrize("seed", range(4))
def test_counts_equal_those_made_by_hand(index: Index, seed: int) -> None:
    chosen = random.Random(seed)
    clauses: tuple[Filter | None, ...] = (
        None,
        AnyOf("colour", ("red", "blue")),
        Not(AnyOf("tags", ("new",))),
        Range("price", gte=3),
        AnyOf("nobody-has-it", ("x",)),
    )
    for step in range(120):
        name = f"p{chosen.randrange(40)}"
        match chosen.randrange(5):
            case 0 | 1 | 2:
                attributes = {
                    "colour": chosen.choice(COLOURS),
                    "tags": tuple(chosen.choices(("new", "sale", "eco"), k=chosen.randrange(1, 4))),
                    "size": chosen.choice((38, 39, 39.5)),
                }
                index.apply(
                    records.content(name, step, [records.picture(step)] * chosen.randrange(3), attributes=attributes)
                )
            case 3:
                index.apply(records.offer(name, step, float(chosen.randrange(6))))
            case _:
                index.apply(records.delete(name, step))
        index.apply(records.content(name, step, [], tenant="other", attributes={"colour": "red", "tags": ("new",)}))
        if step in (50, 90):
            index.compact_and_swap()
        if step % 20 == 19:
            for clause in clauses:
                found = counted(index, clause, *FIELDS)
                for field, facet in found.items():
                    assert dict(facet.values) == by_hand(index, clause, field), (step, clause, field)
                    assert facet.distinct == len(facet.values)


def test_the_most_frequent_come_first_and_values_keep_their_type(index: Index) -> None:
    for number, (colour, size) in enumerate([("red", 38), ("blue", 39.5), ("red", 38), ("amber", 40)]):
        index.apply(
            records.content(f"p{number}", 1, [], attributes={"colour": colour, "size": size, "is_new": number > 0})
        )
    found = counted(index, None, "colour", "size", "is_new", "unknown")
    assert found["colour"] == ShardFacet(kind="string", values=(("red", 2), ("amber", 1), ("blue", 1)), distinct=3)
    assert found["size"].values == ((38, 2), (39.5, 1), (40, 1))
    assert (found["size"].least, found["size"].greatest) == (38.0, 40.0)
    assert found["is_new"].values == ((True, 3), (False, 1))
    assert all(isinstance(value, bool) for value, _ in found["is_new"].values)
    assert "unknown" not in found


def test_values_of_several_kinds_are_counted_together(index: Index) -> None:
    sizes: list[AttributeValue] = ["M", 42, True, 1, 42, ("M", "S"), 39.5]
    for number, size in enumerate(sizes):
        index.apply(records.content(f"p{number}", 1, [], attributes={"size": size}))
    for _ in range(2):
        found = counted(index, None, "size")["size"]
        assert (found.kind, found.distinct, found.least, found.greatest) == (MIXED, 6, 1.0, 42.0)
        assert found.values == ((42, 2), ("M", 2), (True, 1), (1, 1), (39.5, 1), ("S", 1))
        assert [type(value) for value, _ in found.values[2:4]] == [bool, int]
        index.compact_and_swap()


def test_counts_are_bounded(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.apply(
        *(records.content(f"p{n}", 1, [], attributes={"serial": f"s{n:05}"}) for n in range(FACET_VALUES_MAX + 5))
    )
    found = counted(index, None, "serial")["serial"]
    assert (len(found.values), found.distinct) == (FACET_VALUES_MAX, FACET_VALUES_MAX + 5)
    assert found.values[0] == ("s00000", 1)
    monkeypatch.setattr(facets, "STRINGS_MAX", 100)
    with pytest.raises(InvalidQuery, match="too many"):
        counted(index, None, "serial")


def test_a_product_id_has_no_facet(index: Index) -> None:
    index.apply(records.content("a", 1, []))
    with pytest.raises(InvalidQuery, match="of its own"):
        counted(index, None, "product_id")
