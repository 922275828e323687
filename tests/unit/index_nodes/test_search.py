"""Answers: min(k, matches) products, in one order, whatever part of the index they lie in."""

from pathlib import Path

import numpy as np
import pytest

from index_nodes.generations import ivf
from index_nodes.products.keys import MainKeys
from index_nodes.rows.exact import ExactRows
from index_nodes.rows.passing import Passing
from schemas.embeddings import Space
from schemas.filters import AnyOf, Not, Range, parse_filter
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index

RED, BLUE = records.picture(1), records.picture(2)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("k", [1, 10, 50, 200])
def test_products_with_sixteen_views_fill_the_answer(index: Index, k: int, exact: bool) -> None:
    near = [records.unit(RED + 0.01 * records.picture(100 + n)) for n in range(16)]
    index.apply(records.content("many", 1, near))
    index.apply(*(records.content(f"p{n:02}", 1, [records.picture(n)] * 3) for n in range(60)))
    for _ in range(2):
        hits = index.search(RED, k, exact=exact).hits
        assert len(hits) == min(k, 61)
        assert len({hit.product_id for hit in hits}) == len(hits)
        assert hits[0].product_id in ("many", "p01")
        assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)
        index.compact_and_swap()


def test_equal_scores_are_ordered_by_key_across_parts(index: Index) -> None:
    index.apply(*(records.content(name, 1, [RED]) for name in ("c", "e", "a")))
    index.compact_and_swap()
    index.apply(*(records.content(name, 1, [RED]) for name in ("d", "b")))
    assert index.ids(RED) == ["a", "b", "c", "d", "e"]
    assert index.ids(RED, 3) == ["a", "b", "c"]


def test_tenants_see_their_own_only(index: Index) -> None:
    index.apply(records.content("p", 1, [RED], tenant="a"), records.content("p", 1, [RED], tenant="b", title="B"))
    for _ in range(2):
        assert [hit.title for hit in index.search(RED, tenant="b").hits] == ["B"]
        assert index.search(RED, tenant="c").hits == ()
        assert [hit.title for hit in index.search(RED, clause=Not(AnyOf("in_stock", (False,))), tenant="a").hits] == [
            None
        ]
        index.compact_and_swap()


def test_without_a_vector_the_newest_content_comes_first(index: Index) -> None:
    index.apply(*(records.content(f"p{n}", n, [records.picture(n)]) for n in (3, 1, 2)))
    index.compact_and_swap()
    index.apply(records.content("p4", 4, []), records.content("p1", 5, [RED]), records.delete("p2", 9))
    assert index.ids(None) == ["p1", "p4", "p3"]
    assert index.ids(None, 2) == ["p1", "p4"]


def test_of_many_products_of_one_version_few_are_looked_at(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.apply(*(records.content(f"v{n:03}", 5, [records.picture(n)]) for n in range(150)))
    index.apply(*(records.content(f"t{n:03}", 5, [], title="no picture") for n in range(150)))
    index.compact_and_swap()
    index.apply(records.content("new", 6, [RED]), records.content("as", 5, [RED]), records.delete("t000", 9))
    raw, looked_at = index.view.keys.raw, []
    monkeypatch.setattr(index.view.keys, "raw", lambda slot: (looked_at.append(slot), raw(slot))[1])
    assert index.ids(None, 4) == ["new", "as", "t001", "t002"]
    assert len(looked_at) < 30


FILTERS = [
    ({"brand": "x"}, {"a"}),
    ({"brand": ["x", "y"]}, {"a", "b"}),
    ({"tags": "new"}, {"a", "b"}),
    ({"size": {"gte": 2}}, {"b", "c"}),
    ({"size": 2.5}, {"c"}),
    ({"price": {"lt": 10}}, {"a"}),
    ({"in_stock": True}, {"a", "c", "d"}),
    ({"not": {"brand": "x"}}, {"b", "c", "d"}),
    ({"any": [{"brand": "x"}, {"size": {"gt": 2}}]}, {"a", "c"}),
    ({"brand": {"gt": "x"}}, {"b"}),
    ({"title": "A"}, {"a"}),
    ({"product_id": ["c", "z"]}, {"c"}),
    ({"fresh": False}, {"c"}),
    ({"brand": "x", "size": {"lte": 1}}, {"a"}),
    ({"currency": "EUR"}, {"a", "b"}),
]


@pytest.mark.parametrize("is_compacted", [False, True])
@pytest.mark.parametrize(("clause", "expected"), FILTERS)
def test_filters(index: Index, clause: dict[str, object], expected: set[str], is_compacted: bool) -> None:
    index.apply(
        records.content("a", 1, [RED], title="A", attributes={"brand": "x", "tags": ("new", "red"), "size": 1}),
        records.content("b", 1, [RED], attributes={"brand": "y", "tags": ("new",), "size": 2}),
        records.content("c", 1, [RED], attributes={"size": 2.5, "fresh": False}),
        records.content("d", 1, [RED]),
        records.offer("a", 1, 5.0, currency="EUR"),
        records.offer("b", 1, 10.0, currency="EUR", stock=0),
    )
    if is_compacted:
        index.compact_and_swap()
    assert set(index.ids(RED, clause=parse_filter(clause))) == expected
    assert set(index.ids(None, clause=parse_filter(clause))) == expected


def test_attributes_tell_all_that_a_filter_can_name(index: Index) -> None:
    index.apply(
        records.content("a", 1, [RED], attributes={"color": "red"}),
        records.content("b", 1, [RED], attributes={"color": "blue"}),
        records.offer("b", 1, 10.0, currency="EUR", stock=0, attributes={"sale": True}),
    )
    told = {hit.product_id: hit.attributes for hit in index.search(RED).hits}
    assert told == {
        "a": {"color": "red", "in_stock": True},
        "b": {"color": "blue", "sale": True, "price": 10.0, "currency": "EUR", "stock": 0, "in_stock": False},
    }


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_filter_sees_a_change_at_once(index: Index, is_compacted: bool) -> None:
    index.apply(
        *(records.content(f"p{n}", 1, [RED]) for n in range(5)), *(records.offer(f"p{n}", 1, 5.0) for n in range(5))
    )
    if is_compacted:
        index.compact_and_swap()
    assert len(index.ids(RED, clause=Range("price", lt=6))) == 5
    index.apply(records.offer("p3", 2, 7.0))
    assert len(index.ids(RED, clause=Range("price", lt=6))) == 4
    assert index.ids(RED, clause=Range("price", gte=6)) == ["p3"]


@pytest.mark.parametrize("is_compacted", [False, True])
@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ({"size": 42}, {"number"}),
        ({"size": "42"}, {"text"}),
        ({"size": ["M", 42]}, {"number", "list"}),
        ({"size": {"gte": 1}}, {"number", "one"}),
        ({"size": {"gte": "42"}}, {"text", "list"}),
        ({"size": 1}, {"one"}),
        ({"size": True}, {"boolean"}),
        ({"size": [True, 1, "M"]}, {"boolean", "one", "list"}),
        ({"not": {"size": 42}}, {"text", "list", "one", "boolean", "without"}),
        ({"not": {"title": 1}}, {"number", "text", "list", "one", "boolean", "without"}),
        ({"colour": "red"}, set()),
    ],
)
def test_a_field_may_have_values_of_several_kinds(
    index: Index, clause: dict[str, object], expected: set[str], is_compacted: bool
) -> None:
    sizes = {"number": 42, "text": "42", "list": ("M", "L"), "one": 1.0, "boolean": True}
    index.apply(*(records.content(name, 1, [RED], attributes={"size": size}) for name, size in sizes.items()))
    index.apply(records.content("without", 1, [RED], title="A"))
    if is_compacted:
        index.compact_and_swap()
        index.apply(records.content("number", 2, [RED], attributes={"size": 42}))
    # One and True are equal in Python: what is remembered for the one is not told for the other.
    for other in (AnyOf("size", (1,)), AnyOf("size", (True,)), parse_filter(clause)):
        found = set(index.ids(RED, clause=other))
    assert found == expected
    assert set(index.ids(None, clause=parse_filter(clause))) == expected


def test_keys_that_share_a_hash_are_told_apart() -> None:
    keys = [f"default/p{n}".encode() for n in range(20)]
    hashes = np.array([len(key) % 2 for key in keys], np.uint64)
    order = np.argsort(hashes, kind="stable")
    found = MainKeys(hashes[order], order.astype(np.int32), keys, lambda key: len(key) % 2)
    assert [found.find(key) for key in keys] == list(range(20))
    assert found.find(b"default/p") is None
    assert found.find(b"other/p1") is None


def test_an_ivf_reaches_the_recall_and_the_count(tmp_path: Path) -> None:
    """recall@10 >= 0.95 over 100 queries (seed 3) on 6,000 clustered rows of 64 dimensions, whatever share passes."""
    random = np.random.default_rng(3)
    rows = random.standard_normal((100, 64))[random.integers(0, 100, 6000)] + 0.7 * random.standard_normal((6000, 64))
    index = Index(tmp_path, records.lane_of(Space("s", 64)), block_rows=4096)
    vectors = np.stack([records.unit(row, index.lane.space) for row in rows])
    index.apply(
        *(
            records.content(f"p{n}", 1, [vector], attributes={"part": n % 2, "rare": n % 1000}, space=index.lane.space)
            for n, vector in enumerate(vectors)
        )
    )
    report = index.compact()
    assert report.manifest is not None
    assert report.manifest.index.nlist > 0
    index.replica = index.restored()
    for clause, passing in ((None, 1), (AnyOf("part", (1,)), 2), (AnyOf("rare", (7,)), 1000)):
        rest = 7 % passing
        found = 0
        for query in vectors[random.integers(0, 6000, 100)]:
            scores = np.where(np.arange(6000) % passing == rest, vectors @ query, -2)
            expected = min(10, len(range(rest, 6000, passing)))
            truth = set(np.argsort(-scores)[:expected].tolist())
            hits = index.search(query, clause=clause).hits
            assert len(hits) == expected
            found += len(truth & {int(hit.product_id[1:]) for hit in hits}) / expected
        assert found / 100 >= 0.95, clause
    index.replica.close()


def test_products_without_a_row_may_go_in_numbers(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ivf, "FLAT_ROWS_MAX", 500)
    monkeypatch.setattr(ivf, "EXACT_ROWS_MAX", 500)
    index.apply(*(records.content(f"v{n:03}", 1, [records.picture(n)]) for n in range(600)))
    index.apply(*(records.content(f"t{n:03}", 1, [], title="no picture") for n in range(700)))
    index.compact_and_swap()
    assert index.view.generation.index is not None
    index.apply(*(records.delete(f"t{n:03}", 2) for n in range(700)))
    hits = index.search(records.picture(7), 10).hits
    assert (len(hits), hits[0].product_id) == (10, "v007")


def test_lists_are_never_smaller_than_training_needs() -> None:
    for rows in (ivf.FLAT_ROWS_MAX + 1, 20_000, 90_000, 1_000_000):
        assert rows / ivf.lists_of(rows) >= ivf.ROWS_PER_LIST_MIN


def test_rows_compared_one_by_one_are_the_nearest_of_few_and_of_all() -> None:
    vectors = np.stack([records.picture(n) for n in range(100)]).astype(np.float16)
    for mask in (np.ones(100, np.bool_), np.arange(100) < 50, np.arange(100) == 7):
        passing = Passing(mask)
        best = np.argsort(np.where(mask, -(vectors.astype(np.float32) @ RED), 9))[: min(5, passing.count)]
        found = ExactRows(vectors).search(RED, 5, passing)
        assert found.rows[: len(best)].tolist() == best.tolist()
        np.testing.assert_allclose(found.scores, vectors[found.rows].astype(np.float32) @ RED, atol=1e-6)


@pytest.mark.parametrize("exact", [False, True])
def test_ties_at_the_last_place_are_decided_by_key(index: Index, exact: bool) -> None:
    names = [f"p{n:02}" for n in range(14)]
    index.apply(*(records.content(name, 1, [RED]) for name in reversed(names)))
    for _ in range(2):
        for k in (1, 5, 13):
            assert [hit.product_id for hit in index.search(RED, k, exact=exact).hits] == names[:k]
        index.compact_and_swap()


def test_a_product_and_itself_are_alike_by_one_at_most(index: Index) -> None:
    rows = [records.picture(n) for n in range(40)]
    index.apply(*(records.content(f"p{n}", 1, [row]) for n, row in enumerate(rows)))
    rounded = [row.astype(np.float16).astype(np.float32) for row in rows]
    assert max(float(row @ row) for row in rounded) > 1.0  # as sixteen bits leave them
    assert {index.search(row, 1).hits[0].similarity for row in rounded} <= {round(1 - n / 1e6, 6) for n in range(1000)}
