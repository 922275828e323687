"""A deletion is remembered as long as anything older can come again, and not for ever (HOLES 11)."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from index_nodes.compaction.compaction import compact_once
from index_nodes.generations.heads import newest_head
from index_nodes.replicas.replica import Replica
from index_nodes.settings import BuildPolicy
from schemas.clock import ManualClock
from schemas.index_log import IndexLogRecord
from tests.unit.index_nodes import records
from tests.unit.index_nodes.replicas import restored
from topics.store import FileStore

DAY_MS = 86_400_000
HORIZON_DAYS = 46
START_MS = 1_795_000_000_000
LANE = records.lane_of(partitions=2)

products = st.sampled_from(["a", "b"])
gaps = st.sampled_from([0, 0, 0, 1, 22, 45])
"""Days between one event and the next; few values, so that ages near the horizon are common."""
events = st.one_of(
    st.tuples(st.just("add"), products, gaps),
    st.tuples(st.just("delete"), products, gaps),
    st.tuples(st.just("redeliver"), st.integers(0, 5), gaps),
    st.tuples(st.just("compact"), st.sampled_from([0, 100_000]), gaps),
    st.tuples(st.just("ahead"), st.just("c"), gaps),
)
YEAR_MS = 365 * DAY_MS


class World:
    """A log whose broker has a clock, and generations of it."""

    def __init__(self, folder: Path) -> None:
        self.store, self.log = FileStore(folder), records.MemoryLog(LANE)
        self.clock = ManualClock(START_MS * 1000)
        self.log.now_ms = lambda: self.clock.now_us() // 1000

    def append(self, record: IndexLogRecord, appended_ms: int) -> None:
        """``appended_ms``: when the event behind the record was first appended to its own topic."""
        self.log.append(replace(record, source=replace(record.source, appended_at=appended_ms)))

    def append_ahead(self, record: IndexLogRecord) -> None:
        """Under a broker's clock that is a year ahead, and right again at once."""
        right = self.log.now_ms
        self.log.now_ms = lambda: right() + YEAR_MS
        self.append(record, right())
        self.log.now_ms = right

    def compact(self, wall_ms: int) -> None:
        """With a machine whose clock says anything."""
        compact_once(
            self.log, self.store, LANE, 0, policy=BuildPolicy(HORIZON_DAYS * DAY_MS), clock=ManualClock(wall_ms * 1000)
        )

    def replica(self) -> Replica:
        return restored(self.log, self.store, LANE)


@pytest.mark.parametrize("wrong", ["machines", "brokers"])
@settings(max_examples=60, deadline=None)
@given(
    life=st.lists(events, min_size=3, max_size=15),
    last=products,
)
def test_nothing_redelivered_within_the_horizon_resurrects(
    wrong: str, life: list[tuple[str, str | int, int]], last: str
) -> None:
    """Adds come again at any age up to the horizon, after any number of compactions by machines of any clock, or of a
    log that has records of the future.
    """
    life = [("add", last, 0), ("delete", last, 45), *life, ("compact", 0, 0), *(("redeliver", n, 0) for n in range(6))]
    with tempfile.TemporaryDirectory(prefix="freshlens-tombstones-") as name:
        world = World(Path(name))
        seen: list[tuple[IndexLogRecord, int]] = []
        deleted: dict[str, int] = {}
        live: dict[str, int] = {}
        for version, (what, about, days) in enumerate(life, start=1):
            world.clock.advance(days * 86_400)
            now_ms = world.clock.now_us() // 1000
            if what == "add":
                live[str(about)] = version
                seen.append((records.content(str(about), version, [records.picture(version)]), now_ms))
                world.append(*seen[-1])
            elif what == "delete":
                deleted[str(about)] = version
                live.pop(str(about), None)
                world.append(records.delete(str(about), version), now_ms)
            elif what == "redeliver":
                again = [each for each in seen if now_ms - each[1] <= HORIZON_DAYS * DAY_MS]
                if again:
                    world.append(*again[int(about) % len(again)])
            elif what == "compact":
                world.compact(now_ms if wrong == "brokers" else START_MS + int(about) * DAY_MS)
            elif wrong == "brokers":
                live[str(about)] = version
                world.append_ahead(records.content(str(about), version, [records.picture(version)]))
        replica = world.replica()
        try:
            shown = {
                replica.view.keys.key(slot).product_id
                for slot in range(replica.view.slots)
                if replica.view.state(slot).is_visible
            }
        finally:
            replica.close()
        assert shown == live.keys()


def tombstones(world: World, wall_ms: int | None = None) -> int:
    """How many products a new generation knows that a machine makes, of the right time or of ``wall_ms``."""
    world.compact(world.clock.now_us() // 1000 if wall_ms is None else wall_ms)
    head = newest_head(world.store, LANE, 0)
    replica = world.replica()
    replica.close()
    assert head is not None
    return replica.view.slots


def test_a_deletion_is_forgotten_when_log_and_machine_have_passed_the_horizon(tmp_path: Path) -> None:
    """Of a product that was never seen too; by one clock alone nothing is forgotten."""
    world = World(tmp_path)
    world.append(records.delete("never-seen", 1), START_MS)
    assert tombstones(world, START_MS + 1000 * DAY_MS) == 1, "a machine of the future forgets nothing"
    world.append_ahead(records.content("a", 1, [records.picture(1)]))
    world.clock.advance(HORIZON_DAYS * 86_400)
    assert tombstones(world) == 2, "nor does a record of the future; as old as the horizon, not older"
    world.clock.advance(1)
    world.append(records.content("b", 1, [records.picture(2)]), START_MS)
    assert tombstones(world, START_MS) == 3, "a machine of the past keeps it"
    world.append(records.content("b", 2, [records.picture(2)]), START_MS)
    assert tombstones(world) == 2, "a and b are there, the deletion went"


def test_a_record_of_the_future_forgets_no_later_deletion(tmp_path: Path) -> None:
    """Its time is carried from generation to generation, long after the broker's clock is right again."""
    world = World(tmp_path)
    world.append_ahead(records.content("c", 1, [records.picture(1)]))
    assert tombstones(world) == 1
    for version in (1, 3, 5):
        world.clock.advance(50 * 86_400)
        world.append(records.delete("shoe", version), world.clock.now_us() // 1000)
        assert tombstones(world) == 2


def test_a_deletion_with_a_live_offer_beside_it_is_kept(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.append(records.delete("p", 5), START_MS)
    world.append(records.offer("p", 6, 3.0), START_MS)
    world.clock.advance(100 * 86_400)
    world.append(records.content("a", 1, [records.picture(1)]), START_MS)
    assert tombstones(world) == 2
