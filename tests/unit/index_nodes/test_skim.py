"""A full delta never holds up a deletion or a price (HOLES 8)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from index_nodes.replicas.serving import check_digests
from schemas.filters import Range
from schemas.layout import NextOffset
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index

RED, BLUE = records.picture(1), records.picture(2)
CAP = 10


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Index]:
    """An index whose delta is full of p0, p1 and more, each priced 5."""
    index = Index(tmp_path / "store", rows_max=CAP)
    index.apply(*(records.content(f"p{n}", 1, [records.picture(n)]) for n in range(CAP)))
    assert index.replica.is_skimming
    write(index, *(records.offer(f"p{n}", 1, 5.0) for n in range(CAP)))
    yield index
    index.replica.close()


def write(index: Index, *items: object) -> None:
    """Write to the log, and let the replica read all of it, in whatever mode it is."""
    for item in items:
        index.log.append(item)  # type: ignore[arg-type]
    index.replica.mask(index.log.bounds().end, lambda: False)


def test_deletions_and_prices_go_through_and_content_waits(full: Index) -> None:
    write(
        full,
        records.content("late", 1, [RED]),
        records.delete("p0", 2),
        records.offer("p1", 2, 9.0),
        records.content("p2", 2, [BLUE], title="new"),
        records.offer("never-seen", 1, 3.0),
    )
    found = full.ids(None, k=50)
    assert "p0" not in found
    assert "late" not in found
    assert full.ids(None, 50, Range("price", gte=9.0)) == ["p1"]
    offsets, slot = full.view.offsets, full.view.find(b"default/p2")
    assert slot is not None
    content = full.view.state(slot).content
    assert content is not None
    assert content.title is None, "what waits is not shown in part"
    assert offsets.is_skimmed
    assert not offsets.covers(full.log.bounds().end)
    assert offsets.masks(full.log.bounds().end)


def test_a_new_generation_makes_room_and_everything_is_as_if_there_had_been_no_cap(full: Index, tmp_path: Path) -> None:
    write(
        full,
        records.content("p0", 2, [RED]),
        records.delete("p0", 3),
        records.content("p1", 2, [BLUE]),
        records.offer("p1", 3, 9.0),
        records.content("late", 1, [RED]),
    )
    full.compact()
    rebuilt = full.restored()
    rebuilt.mask(full.view.offsets.masked, lambda: False)
    full.replica.close()
    full.replica = rebuilt
    assert not full.view.offsets.is_skimmed
    assert set(full.ids(None, 50)) == {f"p{n}" for n in range(1, CAP)} | {"late"}
    assert full.search(BLUE, 1).hits[0].product_id == "p1"
    plain = Index(tmp_path / "other")
    plain.log = full.log
    plain.replica.close()
    plain.replica = plain.restored()
    check_digests(plain.view, rebuilt.view)
    assert plain.view.digests == rebuilt.view.digests
    plain.replica.close()


def test_a_product_deleted_while_its_content_waited_does_not_come_back(full: Index) -> None:
    write(full, records.content("p3", 5, [RED]), records.delete("p3", 6))
    assert "p3" not in full.ids(RED, 50)
    full.compact_and_swap()
    assert "p3" not in full.ids(RED, 50)


def test_what_takes_over_shows_at_least_what_was_shown(full: Index) -> None:
    """The cap does not hold below what is served, or a swap would hide products."""
    full.compact()
    shown = full.view.offsets.applied
    write(full, *(records.offer(f"p{n}", 7, 1.0) for n in range(CAP)))
    full.replica.close()
    full.replica = full.restored()
    assert all(full.view.offsets.applied[partition] >= NextOffset(offset) for partition, offset in shown.items())


def test_what_was_withheld_before_an_unreadable_record_comes_in_when_there_is_room(tmp_path: Path) -> None:
    index = Index(tmp_path, records.lane_of(partitions=1), rows_max=4)
    replica = index.replica
    index.apply(*(records.content(f"p{number}", 1, [records.picture(number)]) for number in range(2)))
    assert replica.is_skimming
    index.log.append(records.content("withheld", 1, [records.picture(9)]))
    index.log.append_raw(0, b"\xc3\x01" + b"newer...")
    replica.step(0)
    assert replica.blocked is not None
    replica.applier._rows_max = 100
    for _ in range(4):
        replica.step(0)
    assert replica.view.products == 3
    assert replica.blocked is not None
