"""Business rules move what a search may show, and bring nothing back: over a real index, for any rules."""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from index_nodes.settings import NodeSettings
from index_nodes.shard import LocalShard
from query_api.access.identity import Caller
from query_api.feedback_out import FeedbackOut
from query_api.parts import Parts
from query_api.query.matching import passes
from query_api.query.request import SearchBody, query_of_body
from query_api.ranking.options import RankOptions
from query_api.ranking.rule_store import RuleBook
from query_api.ranking.rules import Rule, RuleSet, check_rules
from query_api.ranking.settings import RankSettings
from query_api.search.pipeline import Searcher
from query_api.shards.cluster import Cluster
from schemas.clock import ManualClock
from schemas.filters import parse_filter
from schemas.metrics import NullMetrics
from schemas.shard import ShardHit
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from tests.unit.query_api.doubles import FakeEncoder, FakePublisher, FakeTenants, api_settings
from topics.settings import KafkaSettings
from topics.store import FileStore

LANE = records.lane_of()
IDS = [f"p{number}" for number in range(8)]
FILTERS = [None, {"color": "red"}, {"not": {"color": "red"}}, {"size": {"gte": 2}}, {"in_stock": True}]

names = st.lists(st.sampled_from([*IDS, "absent", "of-another"]), max_size=4, unique=True).map(tuple)
wheres = st.sampled_from(FILTERS)


@st.composite
def rule_sets(draw: st.DrawFn) -> tuple[Rule, ...]:
    """Rules that may be set."""
    rules = []
    for number in range(draw(st.integers(0, 4))):
        action = draw(st.sampled_from(["pin", "boost", "bury"]))
        products = draw(names) or ("p0",)
        where = None if action == "pin" else draw(wheres)
        by = None if action == "pin" else draw(st.sampled_from([None, 0.3, 5.0]))
        position = draw(st.integers(1, 6)) if action == "pin" else 1
        rules.append(
            Rule(name=f"r{number}", action=action, products=products, where=where, by=by, position=position)  # type: ignore[arg-type]
        )
    check_rules(tuple(rules))
    return tuple(rules)


@dataclass(frozen=True)
class World:
    """Products as they were published, and those deleted again."""

    colors: Sequence[str]
    stocks: Sequence[int]
    deleted: frozenset[str]

    def passing(self, filter_: dict[str, Any] | None, *, hides_sold_out: bool) -> set[str]:
        """What may be shown."""
        found = set()
        for number, product_id in enumerate(IDS):
            hit = ShardHit(
                product_id=product_id,
                similarity=0.0,
                source="main",
                version=1,
                attributes={"color": self.colors[number], "size": number % 4},
                stock=self.stocks[number],
                in_stock=self.stocks[number] > 0,
            )
            is_there = product_id not in self.deleted and (hit.in_stock or not hides_sold_out)
            if is_there and (filter_ is None or passes(parse_filter(filter_), hit)):
                found.add(product_id)
        return found


worlds = st.builds(
    World,
    colors=st.lists(st.sampled_from(["red", "blue"]), min_size=8, max_size=8),
    stocks=st.lists(st.integers(0, 2), min_size=8, max_size=8),
    deleted=st.frozensets(st.sampled_from(IDS), max_size=4),
)


class OneNode:
    """A directory of one shard, in this process."""

    def __init__(self, shard: LocalShard) -> None:
        self.shard = shard

    def replicas(self, shard: int) -> Sequence["OneNode"]:
        return [self]

    def failed(self) -> bool:
        raise AssertionError("the node answers")


class Serving:
    """A follower that serves what the index has."""

    def __init__(self, index: Index) -> None:
        self.answering = index.replica


@contextmanager
def searcher_over(world: World, rules: tuple[Rule, ...], rank: RankSettings) -> Iterator[Searcher]:
    """The search pipeline over a real index of the world."""
    with tempfile.TemporaryDirectory() as folder:
        index = Index(Path(folder), LANE)
        for number, product_id in enumerate(IDS):
            attributes: dict[str, Any] = {"color": world.colors[number], "size": number % 4}
            index.apply(records.content(product_id, 1, [records.picture(number)], attributes=attributes))
            index.apply(records.offer(product_id, 1, stock=world.stocks[number]))
        index.apply(records.content("of-another", 1, [records.picture(1)], tenant="other"))
        index.apply(*(records.delete(product_id, 9) for product_id in world.deleted))
        node = NodeSettings(KafkaSettings("localhost:9092"), LANE, folder)
        shard = LocalShard(node, Serving(index), ManualClock(), NullMetrics())  # type: ignore[arg-type]
        book = RuleBook()
        book._known = {"default": RuleSet(tenant="default", version=1, rules=rules)}
        try:
            yield parts_of(shard, book, rank, Path(folder)).searcher()
        finally:
            shard.close()
            index.replica.close()


@settings(max_examples=60, deadline=None)
@given(
    world=worlds,
    rules=rule_sets(),
    filter_=wheres,
    k=st.integers(1, 10),
    stock=st.sampled_from(["as-is", "last", "hidden"]),
    diversity=st.sampled_from([0.0, 0.4]),
    retrieved=st.sampled_from([10, 500]),
)
def test_rules_move_what_may_be_shown_and_bring_nothing_back(
    world: World,
    rules: tuple[Rule, ...],
    filter_: dict[str, Any] | None,
    k: int,
    stock: str,
    diversity: float,
    retrieved: int,
) -> None:
    rank = RankSettings(out_of_stock=stock, retrieved=retrieved)  # type: ignore[arg-type]
    passing = world.passing(filter_, hides_sold_out=stock == "hidden")
    body = SearchBody(vector=records.picture(0).tolist(), filter=filter_, k=k)
    with searcher_over(world, rules, rank) as searcher:
        query = query_of_body(body, api_settings(lane=LANE, rank=rank))
        query = replace(query, ranking=RankOptions(diversity=diversity, explain=True))
        one = asyncio.run(searcher.search(Caller("default"), query))
        other = asyncio.run(searcher.search(Caller("default"), query))
    found = [result.product_id for result in one.results]
    assert set(found) <= passing
    assert len(found) == len(set(found)) == min(k, len(passing))
    assert [result.score for result in one.results] == sorted((result.score for result in one.results), reverse=True)
    assert one.results == other.results
    if stock == "last":
        states = [result.in_stock for result in one.results]
        assert states == sorted(states, reverse=True)
    if not diversity and stock == "as-is":
        assert_pinned(found, rules, passing)


def assert_pinned(found: list[str], rules: tuple[Rule, ...], passing: set[str]) -> None:
    """The only product that is pinned to the top is there, if it may be shown."""
    pins = [
        (name, rule.position + place)
        for rule in rules
        if rule.action == "pin"
        for place, name in enumerate(rule.products)
    ]
    firsts = {name for name, _ in pins}
    if len(pins) == len(firsts) == 1 and pins[0][0] in passing and pins[0][1] <= len(found):
        assert found[pins[0][1] - 1] == pins[0][0]


def parts_of(shard: LocalShard, book: RuleBook, rank: RankSettings, folder: Path) -> Parts:
    """An API process over one node."""
    clock = ManualClock()
    return Parts(
        settings=api_settings(lane=LANE, rank=rank),
        cluster=Cluster(LANE, clock, node_age_max_s=10),
        directory=OneNode(shard),  # type: ignore[arg-type]
        encoder=FakeEncoder(),
        publisher=FakePublisher(),
        tenants=FakeTenants(),
        store=FileStore(folder / "objects"),
        feedback=FeedbackOut(NullMetrics()),
        rules=book,
        clock=clock,
    )
