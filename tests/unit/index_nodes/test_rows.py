"""Slots and rows (HOLES 2): what makes a row, what kills one, and what touches neither."""

from index_nodes.rows.arrays import GrowingBlobs
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index

RED, BLUE, GREEN = (records.picture(seed) for seed in range(3))


def test_price_changes_add_no_vector_and_no_graph(index: Index) -> None:
    index.apply(*(records.content(f"p{n}", 1, [records.picture(n)]) for n in range(40)))
    before = (len(index.view.delta.slots), index.view.delta.graphs, index.view.live_rows)
    assert before == (40, 2, 40)
    for version in range(2, 12):
        index.apply(*(records.offer(f"p{n}", version, float(version)) for n in range(40)))
    assert (len(index.view.delta.slots), index.view.delta.graphs, index.view.live_rows) == before
    assert {hit.price for hit in index.search(RED, 40).hits} == {11.0}


def test_the_overlay_does_not_grow_with_events(index: Index) -> None:
    index.apply(records.content("p", 1, [RED]))
    for version in range(1, 12):
        index.apply(*(records.offer("p", version * 1000 + n, float(n)) for n in range(500)))
    assert index.view.overlay.count < 5000
    assert index.search(RED).hits[0].price == 499.0


def test_a_view_captured_before_a_swap_keeps_the_old_price_and_the_old_row(index: Index) -> None:
    index.apply(records.content("p", 1, [RED]), records.offer("p", 1, 10.0))
    index.compact_and_swap()
    old = index.view
    index.apply(records.content("p", 2, [BLUE]), records.offer("p", 2, 20.0))
    index.compact_and_swap()
    from index_nodes.views.search import search

    then = search(old, tenant="default", query=RED, k=1).hits[0]
    now = index.search(RED, 1).hits[0]
    assert (then.price, round(then.similarity, 3)) == (10.0, 1.0)
    assert now.price == 20.0
    assert now.similarity < 0.99


def test_a_picture_that_comes_back_is_a_new_row(index: Index) -> None:
    index.apply(records.content("p", 1, [RED]))
    index.compact_and_swap()
    index.apply(records.content("p", 2, [BLUE]))
    index.apply(records.content("p", 3, [RED]))
    assert not index.view.main_alive.any()
    assert len(index.view.delta.slots) == 2
    assert index.view.live_rows == 1
    assert index.search(RED).hits[0].source == "tail"


def test_views_that_are_named_again_keep_their_rows(index: Index) -> None:
    index.apply(records.content("p", 1, [RED, BLUE, GREEN]))
    index.compact_and_swap()
    index.apply(records.content("p", 2, [GREEN, RED]))
    assert index.view.main_alive.tolist() == [True, False, True]
    assert index.view.rows(0) == (2, 0)
    assert len(index.view.delta.slots) == 0


def test_a_delete_takes_everything_and_a_newer_version_brings_it_back(index: Index) -> None:
    index.apply(records.content("p", 1, [RED]), records.delete("p", 2), records.content("p", 2, [RED]))
    assert index.ids(RED) == []
    index.apply(records.offer("p", 9, 1.0))
    assert index.ids(RED) == [], "an offer alone resurrects nothing"
    index.apply(records.content("p", 3, [RED]))
    assert index.ids(RED) == ["p"]


def test_ignored_and_void_records_are_counted(index: Index) -> None:
    index.apply(records.content("p", 2, [RED]), records.content("p", 1, [RED]), records.delete("p", 1))
    index.apply(records.content("p", 2, [RED]))
    index.log.append_raw(0, b"nonsense")
    index.apply()
    values = index.metrics.values
    assert values["freshlens_records_ignored_total", (("reason", "older"),)] == 1
    assert values["freshlens_records_ignored_total", (("reason", "duplicate"),)] == 1
    assert values["freshlens_records_void_total", (("code", "undecodable-record"),)] == 1


def test_a_graph_with_many_dead_rows_is_built_again(index: Index) -> None:
    index.apply(*(records.content(f"p{n}", 1, [records.picture(n)]) for n in range(17)))
    sealed = [index.view.keys.key(int(slot)).product_id for slot in index.view.delta.slots[:16]]
    last = index.view.keys.key(int(index.view.delta.slots[16])).product_id
    index.apply(*(records.delete(product_id, 2) for product_id in sealed[:8]))
    graph = index.view.delta.segments[0]
    assert graph.source == "graph"
    assert len(graph.labels) == 8
    index.apply(*(records.delete(product_id, 2) for product_id in sealed[8:]))
    assert [segment.source for segment in index.view.delta.segments] == ["tail"]
    assert index.ids(RED) == [last]


def test_blobs_of_any_size_stay_what_they_were() -> None:
    blobs = GrowingBlobs()
    written = [
        bytes([number % 251]) * size for number, size in enumerate([0, 1, 700_000, 700_000, 3_000_000, 5, 0] * 3)
    ]
    held = []
    for number, blob in enumerate(written):
        blobs.append(blob)
        held.append(blobs[number])
    assert [bytes(blob) for blob in held] == [bytes(blobs[number]) for number in range(len(blobs))] == written
