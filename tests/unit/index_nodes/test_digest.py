"""Digests: equal states give equal digests whatever the way there, and any difference shows (HOLES 24)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index_nodes.compaction.build import digest_of_generation
from index_nodes.products.digest import Digest, digest_of, total
from index_nodes.products.product import UNKNOWN, ProductState, fold
from index_nodes.replicas import serving
from schemas.errors import DigestMismatch
from schemas.index_log import IndexLogRecord
from tests.property import strategies
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index

RED = records.picture(1)


def of_view(index: Index) -> Digest:
    view = index.view
    return total(digest_of(view.keys.raw(slot), view.state(slot)) for slot in range(view.slots))


def test_the_sum_kept_by_record_is_that_of_the_state(index: Index) -> None:
    index.apply(
        records.content("p", 1, [RED]),
        records.offer("p", 2, 3.0),
        records.content("q", 1, [RED, -RED]),
        records.delete("p", 3),
        records.content("p", 2, [RED]),
        records.delete("never-seen", 1),
    )
    assert total(index.view.digests.values()) == of_view(index)
    index.compact_and_swap()
    assert total(index.view.digests.values()) == of_view(index) == digest_of_generation(index.view.generation)


@given(st.lists(strategies.index_records, max_size=12))
def test_order_does_not_matter_where_the_join_does_not(items: list[IndexLogRecord]) -> None:
    sums = []
    for order in (items, items[::-1], items + items):
        states: dict[bytes, ProductState] = {}
        digest = Digest()
        for record in order:
            key = record.key.to_bytes()
            before = states.get(key, UNKNOWN)
            states[key], _ = fold(before, record)
            digest = digest.changed(key, before, states[key])
        assert digest == total(digest_of(key, state) for key, state in states.items())
        sums.append(digest)
    assert sums[0] == sums[1] == sums[2]


def test_one_flipped_bit_is_found(index: Index) -> None:
    index.apply(records.content("p", 1, [RED], title="red"), records.offer("p", 1, 2.0))
    slot = index.view.find(b"default/p")
    assert slot is not None
    state = index.view.state(slot)
    assert state.offer is not None
    flipped = msgspec.structs.replace(state, offer=msgspec.structs.replace(state.offer, price=2.0000000000000004))
    assert digest_of(b"default/p", flipped).live != digest_of(b"default/p", state).live
    assert digest_of(b"default/q", state) != digest_of(b"default/p", state)


def test_a_digest_reads_back() -> None:
    digest = Digest(3, (1 << 128) - 1)
    assert Digest.parse(str(digest)) == digest
    assert digest + Digest(0, 1) == Digest(3, 0)


def test_a_rebuild_that_differs_is_refused(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.apply(records.content("p", 1, [RED]), records.content("q", 1, [RED]))
    rebuilt = index.restored()
    serving.check_digests(index.view, rebuilt.view)
    overlay = rebuilt.applier._overlay
    there = overlay.state
    # A product vanishes from the memory of one replica, and is changed by the next record.
    monkeypatch.setattr(overlay, "state", lambda entry: UNKNOWN if entry == 0 else there(entry))
    for product_id in ("p", "q"):
        index.log.append(records.offer(product_id, 2, 1.0))
    rebuilt.catch_up(index.log.bounds().end, lambda: False)
    index.replica.catch_up(index.log.bounds().end, lambda: False)
    with pytest.raises(DigestMismatch, match="starts again"):
        serving.check_digests(index.view, rebuilt.view)
    rebuilt.close()


def test_replicas_mark_the_same_digests(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index_nodes.replicas.applier._MARK_EVERY", 2)
    index.apply(*(records.content(f"p{n}", 1, [RED]) for n in range(20)))
    other = index.restored()
    assert other.applier.marks == index.replica.applier.marks
    assert other.applier.marks
    assert all(mark.offset % 2 == 0 for mark in other.applier.marks.values())
    other.close()
