"""The index equals the fold of the log, whatever happens to it: an oracle of dictionaries beside the real code."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from index_nodes.compaction.compaction import compact_once
from index_nodes.compaction.publication import roll_back
from index_nodes.compaction.retention import collect
from index_nodes.generations.heads import head_numbers
from index_nodes.replicas.applier import ROWS_MAX
from index_nodes.replicas.replica import Replica
from index_nodes.settings import RetentionPolicy
from index_nodes.views.hot_searches import HotSearches
from index_nodes.views.search import search
from index_nodes.views.view import IndexView
from schemas.clock import ManualClock
from schemas.errors import QueryError
from schemas.filters import AnyOf, Filter
from schemas.index_log import IndexLogRecord
from schemas.metrics import NullMetrics
from tests.property import strategies
from tests.property.index_oracle import Oracle
from tests.simulation.life import Crash, Life, Undisturbed
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from tests.unit.index_nodes.replicas import restored
from topics.store import FileStore

LANE = records.lane_of(partitions=2)
BLOCK_ROWS = 4
"""So few that sealing and graphs happen all the time."""


class MortalStore:
    """A store whose every call may be the last of who calls."""

    def __init__(self, store: FileStore, life: Life) -> None:
        self._store, self._life = store, life

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._store, name)
        return lambda *given: self._life.effect(name, lambda: call(*given))


class IndexMachine(RuleBasedStateMachine):
    """One replica over a log in memory and a store on disk."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="freshlens-machine-"))
        self.store = FileStore(self.folder)
        self.log = records.MemoryLog(LANE)
        self.clock = ManualClock()
        self.written: list[IndexLogRecord] = []
        self.oracle = Oracle()
        self.held: tuple[IndexView, int, list[tuple[str, float]]] | None = None
        self.hot = HotSearches(32)  # over crashes, swaps and rollbacks: what is kept may never be what was
        self.replica = self.restored()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    def restored(self, rows_max: int = ROWS_MAX) -> Replica:
        """As at a start, a swap and a rollback: the newest head, and the log up to its end."""
        return restored(self.log, self.store, LANE, block_rows=BLOCK_ROWS, rows_max=rows_max)

    def write(self, record: IndexLogRecord) -> None:
        self.log.append(record)
        self.written.append(record)
        self.oracle.apply(record)

    @rule(batch=st.lists(strategies.index_records, min_size=5, max_size=20))
    def publish(self, batch: list[IndexLogRecord]) -> None:
        before = self.replica.view
        expected = [self.answers(before, picture) for picture in range(len(strategies.PICTURES))]
        for record in batch:
            self.write(record)
        self.replica.catch_up(self.log.bounds().end, lambda: False)
        before._selections.clear()  # what it remembers must not be why it stays
        assert expected == [self.answers(before, picture) for picture in range(len(strategies.PICTURES))]

    @precondition(lambda self: self.written)
    @rule(data=st.data())
    def redeliver(self, data: st.DataObject) -> None:
        """A record of before comes again, out of order."""
        self.write(data.draw(st.sampled_from(self.written)))
        self.replica.catch_up(self.log.bounds().end, lambda: False)

    @rule()
    def tick(self) -> None:
        """Time passes: graphs that were built are taken in."""
        self.replica.step(0)

    @rule()
    def crash_and_restart(self) -> None:
        self.replica.close()
        self.replica = self.restored()

    @rule()
    def compact(self) -> None:
        """A new generation appears; nobody serves it yet."""
        compact_once(self.log, self.store, LANE, 0, clock=self.clock)

    @rule(effects=st.integers(0, 25), dies_after=st.booleans())
    def compactor_crashes(self, effects: int, dies_after: bool) -> None:
        """It dies in any of its effects on the store: before it took place, or before it learned that it did."""
        life = Life("compactor", Undisturbed(), effects_left=effects, dies_after=dies_after)
        with contextlib.suppress(Crash):
            compact_once(self.log, MortalStore(self.store, life), LANE, 0, clock=self.clock)
        self.crash_and_restart()

    @rule(days=st.sampled_from([0, 2, 5]))
    def retain(self, days: int) -> None:
        """What is old goes; what stays must be enough to start from."""
        self.clock.advance(days * 86_400)
        collect(self.log, self.store, LANE, 0, (), RetentionPolicy(), NullMetrics(), self.clock)
        self.crash_and_restart()

    @rule(batch=st.lists(strategies.index_records, min_size=5, max_size=20), rows_max=st.integers(1, 12))
    def a_full_replica_skims(self, batch: list[IndexLogRecord], rows_max: int) -> None:
        """It withholds content when its delta is full, and shows nothing that was deleted."""
        full = self.restored(rows_max)
        for record in batch:
            self.write(record)
        full.mask(self.log.bounds().end, lambda: False)
        for key, expected in self.oracle.products.items():
            slot = full.view.find(key.to_bytes())
            if slot is not None and full.view.state(slot).is_visible:
                assert expected.ranks.deleted is None or expected.content is not None, key
        full.close()
        self.replica.catch_up(self.log.bounds().end, lambda: False)

    @rule()
    def swap(self) -> None:
        """The newest head takes over."""
        old, self.replica = self.replica, self.restored()
        old.close()
        assert self.replica.seq == max([0, *head_numbers(self.store, LANE, 0)])

    @precondition(lambda self: head_numbers(self.store, LANE, 0))
    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        seq = data.draw(st.sampled_from(head_numbers(self.store, LANE, 0)))
        assert roll_back(self.log, self.store, LANE, 0, seq, clock=self.clock).seq > seq
        self.swap()

    @rule(picture=strategies.pictures)
    def capture(self, picture: int) -> None:
        """A long query takes its view now, and must see the same whatever comes after."""
        self.held = (self.replica.view, picture, self.answers(self.replica.view, picture))

    @invariant()
    def a_captured_view_stays(self) -> None:
        if getattr(self, "held", None) is not None:
            view, picture, expected = self.held
            view._selections.clear()  # what it remembers must not be why it stays
            assert self.answers(view, picture) == expected

    def answers(self, view: IndexView, picture: int) -> list[tuple[str, float]]:
        found = search(view, tenant="a", query=strategies.PICTURES[picture], k=10, hot=self.hot)
        return [(hit.product_id, hit.similarity) for hit in found.hits]

    @rule(picture=strategies.pictures, k=st.integers(1, 7), tenant=strategies.tenants, exact=st.booleans())
    def searched(self, picture: int, k: int, tenant: str, exact: bool) -> None:
        query = strategies.PICTURES[picture]
        found = search(self.replica.view, tenant=tenant, query=query, k=k, exact=exact, hot=self.hot)
        given = [(hit.product_id, hit.similarity) for hit in found.hits]
        expected = self.oracle.search(tenant, query, k)
        assert given == expected, (given, expected)
        assert found.candidates == len(self.oracle.visible(tenant))

    @rule(picture=strategies.pictures, k=st.integers(1, 7), tenant=strategies.tenants, exact=st.booleans())
    def collapsed(self, picture: int, k: int, tenant: str, exact: bool) -> None:
        """Of duplicates the best alone, and still as many as there are."""
        query = strategies.PICTURES[picture]
        view = self.replica.view
        found = search(view, tenant=tenant, query=query, k=k, exact=exact, collapse=True, hot=self.hot)
        given = [(hit.product_id, hit.similarity) for hit in found.hits]
        assert given == self.oracle.search(tenant, query, k, collapse=True)

    @rule(picture=strategies.pictures, k=st.integers(1, 7), tenant=strategies.tenants, clause=strategies.filters)
    def filtered(self, picture: int, k: int, tenant: str, clause: Filter) -> None:
        query = strategies.PICTURES[picture]
        try:
            found = search(self.replica.view, tenant=tenant, query=query, k=k, clause=clause, hot=self.hot)
        except QueryError as error:
            if error.code != "unknown-field":
                raise
            return
        assert [(hit.product_id, hit.similarity) for hit in found.hits] == self.oracle.search(tenant, query, k, clause)
        newest = search(self.replica.view, tenant=tenant, query=None, k=10, clause=clause)
        assert {hit.product_id for hit in newest.hits} == self.oracle.visible(tenant, clause).keys()

    @invariant()
    def the_view_is_the_fold(self) -> None:
        if not hasattr(self, "replica"):
            return
        view = self.replica.view
        assert view.slots == len(self.oracle.products)
        assert view.products == sum(product.content is not None for product in self.oracle.products.values())
        assert view.live_rows == sum(len(product.vectors) for product in self.oracle.products.values())
        for key, expected in self.oracle.products.items():
            slot = view.find(key.to_bytes())
            assert slot is not None
            state = view.state(slot)
            assert state.ranks == expected.ranks
            assert (state.content is None) == (expected.content is None)
            assert state.offer == expected.offer
            vectors = [view.vector(row).astype("<f2").tobytes() for row in view.rows(slot)]
            assert sorted(vectors) == sorted(expected.vectors.values())


IndexMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestIndexMachine = IndexMachine.TestCase


def test_prices_cost_no_rows_and_no_graphs(tmp_path: Path) -> None:
    """20,000 price changes: the delta holds what it held, and a filter sees each at once (HOLES 2)."""
    index = Index(tmp_path, LANE, block_rows=16)
    index.apply(*(records.content(f"p{number}", 1, [records.picture(number)]) for number in range(100)))
    index.replica.step(0)
    before = index.view
    for start in range(0, 20_000, 1_000):
        changes = range(start, start + 1_000)
        index.apply(*(records.offer(f"p{change % 100}", 2 + change, float(change % 7)) for change in changes))
        last = start + 999
        found = index.search(None, 100, AnyOf("price", (float(last % 7),)))
        assert f"p{last % 100}" in {hit.product_id for hit in found.hits}
    after = index.view
    assert len(after.delta.slots) == len(before.delta.slots) == 100
    assert after.delta.graphs == before.delta.graphs > 0
    assert [hit.price for hit in index.search(None, 100, AnyOf("product_id", ("p99",))).hits] == [float(19_999 % 7)]
    index.replica.close()
