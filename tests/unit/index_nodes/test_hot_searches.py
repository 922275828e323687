"""What a node remembers of searches: used where it holds, and only there."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from index_nodes.settings import NodeSettings
from index_nodes.shard import LocalShard
from index_nodes.views import hot_searches
from index_nodes.views.hot_searches import HotSearches
from index_nodes.views.search import search
from schemas.clock import ManualClock
from schemas.filters import AnyOf, Filter, Not
from schemas.metrics import RecordingMetrics
from schemas.shard import ShardSearch
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from topics.settings import KafkaSettings

QUERY = records.picture(1_000)
RED = AnyOf("colour", ("red",))


class Remembering:
    """An index of 40 products, searched with a memory of two searches."""

    def __init__(self, index: Index) -> None:
        self.index, self.metrics = index, RecordingMetrics()
        self.hot = HotSearches(2, self.metrics)
        index.apply(
            *(records.content(f"p{n}", 1, [records.picture(n)], attributes={"colour": "red"}) for n in range(40))
        )
        index.apply(*(records.offer(f"p{n}", 1, 9.0) for n in range(40)))
        index.compact_and_swap()

    def ids(self, k: int = 5, clause: Filter | None = None, *, exact: bool = False) -> list[str]:
        how = {"tenant": "default", "query": QUERY, "k": k, "clause": clause, "exact": exact}
        found = search(self.index.view, hot=self.hot, **how)  # type: ignore[arg-type]
        assert found == search(self.index.view, **how)  # type: ignore[arg-type]
        return [hit.product_id for hit in found.hits]

    def counts(self) -> dict[str, int]:
        return {
            dict(labels)["result"]: int(value)
            for (name, labels), value in self.metrics.values.items()
            if name == "freshlens_hot_searches_total"
        }


@pytest.fixture
def remembering(index: Index) -> Remembering:
    return Remembering(index)


def test_a_filter_is_remembered_as_what_it_is_and_not_whole(remembering: Remembering) -> None:
    """It may be as long as a body; and one and True are equal in Python."""
    long = Not(AnyOf("colour", ("x" * 100_000,)))
    others = [Not(AnyOf("size", (value,))) for value in (1, True)]
    for clause in (*others, long):
        remembering.ids(clause=clause)
    assert remembering.counts() == {"miss": 3}
    assert len(pickle.dumps(list(remembering.hot._kept))) < 1_000


def test_the_same_search_is_known(remembering: Remembering) -> None:
    assert remembering.ids() == remembering.ids()
    assert remembering.counts() == {"miss": 1, "hit": 1}


def test_every_other_search_is_not(remembering: Remembering) -> None:
    for k, clause, exact in [(5, None, False), (6, None, False), (5, RED, False), (5, None, True)]:
        remembering.ids(k, clause, exact=exact)
    assert remembering.counts() == {"miss": 4}
    remembering.ids(5)  # forgotten: only two are kept
    assert remembering.counts() == {"miss": 5}


def test_what_is_deleted_is_gone_and_the_next_comes_up(remembering: Remembering) -> None:
    before = remembering.ids(6)
    remembering.ids(5)
    remembering.index.apply(records.delete(before[0], 2))
    assert remembering.ids(5) == before[1:6]
    assert remembering.counts()["changed"] == 1


def test_a_price_costs_no_search_and_is_shown(remembering: Remembering) -> None:
    first = remembering.ids()[0]
    remembering.index.apply(records.offer(first, 2, 1.5))
    assert remembering.ids()[0] == first  # equal in all fields, see ``ids``
    assert remembering.counts() == {"miss": 1, "hit": 1}


def test_what_passes_again_is_there_without_a_search(remembering: Remembering) -> None:
    """Nothing was lost, and what was gained is compared: one price fell below, of 40."""
    cheap = AnyOf("price", (1.0,))
    assert remembering.ids(5, cheap) == []
    remembering.index.apply(records.offer("p7", 2, 1.0))
    assert remembering.ids(5, cheap) == ["p7"]
    remembering.index.apply(records.offer("p7", 3, 9.0), records.offer("p8", 3, 1.0))
    assert remembering.ids(5, cheap) == ["p8"]
    assert remembering.counts() == {"miss": 1, "hit": 1}  # of the first the generation knew that nothing passes


def test_further_views_of_a_product_count(index: Index) -> None:
    index.apply(records.content("far", 1, [-QUERY, QUERY]), records.offer("far", 1, 9.0))
    remembering = Remembering(index)
    cheap = AnyOf("price", (1.0,))
    assert remembering.ids(1, cheap) == []
    index.apply(records.offer("far", 2, 1.0))
    found = search(index.view, tenant="default", query=QUERY, k=1, clause=cheap, hot=remembering.hot)
    assert found.hits[0].similarity == pytest.approx(1.0, abs=1e-3)


def test_what_is_new_is_found_beside_what_is_known(remembering: Remembering) -> None:
    remembering.ids()
    remembering.index.apply(records.content("new", 5, [QUERY]))
    assert remembering.ids()[0] == "new"
    assert remembering.counts() == {"miss": 1, "hit": 1}


def test_after_too_many_changes_it_is_searched_again(remembering: Remembering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_searches, "CHANGES_MAX", 3)
    remembering.ids()
    remembering.index.apply(*(records.offer(f"p{n}", 2, 2.0) for n in range(4)))
    remembering.ids()
    assert remembering.counts() == {"miss": 1, "changed": 1}


def test_an_older_view_and_another_generation_know_nothing_of_it(remembering: Remembering) -> None:
    index, older = remembering.index, remembering.index.view
    index.apply(records.delete("p3", 2))
    remembering.ids(40)
    assert len(search(older, tenant="default", query=QUERY, k=40, hot=remembering.hot).hits) == 40
    index.compact_and_swap()
    assert "p3" not in remembering.ids(40)
    assert remembering.counts()["miss"] == 3


@pytest.mark.parametrize(("kept", "outcomes"), [(0, []), (2, ["miss", "hit"])])
async def test_a_node_remembers_as_many_as_it_is_set_to(index: Index, kept: int, outcomes: list[str]) -> None:
    metrics = RecordingMetrics()
    index.apply(records.content("p", 1, [QUERY]))
    index.compact_and_swap()
    lane = index.lane
    follower = SimpleNamespace(answering=index.replica)
    node = NodeSettings(KafkaSettings("localhost:9092"), lane, "", hot_searches_max=kept)
    shard = LocalShard(node, follower, ManualClock(), metrics)  # type: ignore[arg-type]
    request = ShardSearch(
        lane=lane.name, layout_id=lane.layout.layout_id, tenant="default", vector=QUERY.astype("<f4").tobytes(), k=1
    )
    for _ in range(2):
        assert [hit.product_id for hit in (await shard.search(request)).hits] == ["p"]
    shard.close()
    counted = {dict(labels)["result"] for name, labels in metrics.values if name == "freshlens_hot_searches_total"}
    assert counted == set(outcomes)


def test_ties_with_the_last_are_not_lost(index: Index) -> None:
    """Equal pictures are ordered by id: when the first goes, its place is the next id's, kept or not."""
    index.apply(*(records.content(f"p{n:02}", 1, [QUERY]) for n in range(30)))
    index.compact_and_swap()
    hot = HotSearches(8)
    for gone in range(12):
        found = search(index.view, tenant="default", query=QUERY, k=3, hot=hot)
        assert [hit.product_id for hit in found.hits] == [f"p{n:02}" for n in range(gone, gone + 3)]
        assert np.allclose([hit.similarity for hit in found.hits], 1.0, atol=1e-3)
        index.apply(records.delete(f"p{gone:02}", 2))
