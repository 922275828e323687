"""Collapsed answers: the min(k, groups) best duplicate groups, wherever their products lie (HOLES 21)."""

from pathlib import Path

import numpy as np
import pytest

from index_nodes.views.search import search
from schemas.filters import AnyOf, Filter
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index

RED, BLUE = records.picture(1), records.picture(2)


def collapsed(index: Index, k: int, clause: Filter | None = None, *, exact: bool = False) -> list[str]:
    found = search(index.view, tenant="default", query=RED, k=k, clause=clause, exact=exact, collapse=True)
    return [hit.product_id for hit in found.hits]


@pytest.mark.parametrize("exact", [False, True])
def test_a_hundred_products_with_one_picture_take_one_place(index: Index, exact: bool) -> None:
    index.apply(*(records.content(f"same{n:02}", 1, [RED], dup_group=b"picture") for n in range(100)))
    index.apply(*(records.content(f"other{n}", 1, [records.picture(10 + n)]) for n in range(5)))
    for _ in range(2):
        for k in (1, 3, 6, 50):
            ids = collapsed(index, k, exact=exact)
            assert len(ids) == min(k, 6)
            assert ids[0] == "same00"
            assert len({product_id for product_id in ids if product_id.startswith("same")}) == 1
        assert len(index.ids(RED, 50)) == 50, "without collapsing every product counts"
        index.compact_and_swap()


def test_a_group_lies_in_main_graph_and_tail_and_is_shown_by_its_best(index: Index) -> None:
    index.apply(records.content("old", 1, [BLUE], dup_group=b"g"), records.content("alone", 1, [BLUE]))
    index.compact_and_swap()
    index.apply(*(records.content(f"graph{n:02}", 1, [BLUE], dup_group=b"g") for n in range(16)))
    assert index.view.delta.segments[0].source == "tail" or index.view.delta.graphs == 1
    index.apply(records.content("new", 1, [RED], dup_group=b"g"))
    assert collapsed(index, 5) == ["new", "alone"]
    index.apply(records.delete("new", 2))
    assert collapsed(index, 5) == ["alone", "graph00"], "ties are decided by key"


def test_the_member_that_passes_stands_for_its_group(index: Index) -> None:
    index.apply(
        *(records.content(f"a{n}", 1, [RED], dup_group=b"g", attributes={"size": n}) for n in range(9)),
        records.content("b", 1, [BLUE], attributes={"size": 7}),
    )
    for _ in range(2):
        assert collapsed(index, 5, AnyOf("size", (7,))) == ["a7", "b"]
        index.compact_and_swap()


def test_groups_of_other_tenants_and_products_without_one_are_apart(index: Index) -> None:
    index.apply(
        records.content("p", 1, [RED], dup_group=b"g", tenant="other"),
        records.content("p", 1, [RED], dup_group=b"g"),
        *(records.content(f"q{n}", 1, [RED]) for n in range(3)),
    )
    for _ in range(2):
        assert collapsed(index, 10) == ["p", "q0", "q1", "q2"]
        index.compact_and_swap()


def test_newest_first_collapses_too(index: Index) -> None:
    index.apply(
        records.content("a", 1, [RED], dup_group=b"g"),
        records.content("b", 3, [RED], dup_group=b"g"),
        records.content("c", 2, [RED]),
    )
    for _ in range(2):
        found = search(index.view, tenant="default", query=None, k=5, collapse=True)
        assert [hit.product_id for hit in found.hits] == ["b", "c"]
        index.compact_and_swap()


@pytest.mark.parametrize("seed", range(4))
def test_collapsed_answers_are_the_exact_ones(tmp_path: Path, seed: int) -> None:
    """Against dictionaries: random products of several views in random groups, in three parts of the index."""
    random = np.random.default_rng(seed)
    index = Index(tmp_path, block_rows=16)
    scores: dict[str, float] = {}
    groups: dict[str, str] = {}
    for n in range(120):
        vectors = [records.picture(int(random.integers(0, 60))) for _ in range(int(random.integers(1, 4)))]
        group = int(random.integers(0, 30))
        index.apply(records.content(f"p{n:03}", 1, vectors, dup_group=bytes([group]) if group < 20 else b""))
        stored = [vector.astype(np.float16).astype(np.float64) for vector in vectors]
        scores[f"p{n:03}"] = round(max(float(vector @ RED.astype(np.float64)) for vector in stored), 6)
        groups[f"p{n:03}"] = str(group) if group < 20 else f"p{n:03}"
        if n == 50:
            index.compact_and_swap()
    ordered = sorted(scores, key=lambda product_id: (-scores[product_id], product_id))
    best: dict[str, str] = {}
    for product_id in ordered:
        best.setdefault(groups[product_id], product_id)
    for k in (1, 5, 20, 200):
        assert collapsed(index, k, exact=True) == list(best.values())[:k]
        assert len(collapsed(index, k)) == min(k, len(best))
    index.replica.close()
