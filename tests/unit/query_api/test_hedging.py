"""A second replica for a slow first one: once, one answer used, the loser cancelled, counted, and not too often."""

import asyncio
from dataclasses import dataclass, field

import pytest

from query_api.shards.hedging import Hedges
from query_api.shards.scatter import Scatter
from schemas.errors import FilterType, ShardUnavailable
from schemas.layout import Layout
from schemas.metrics import RecordingMetrics
from schemas.shard import ShardAnswer, ShardSearch
from tests.unit.query_api.doubles import FakeDirectory, FakeReplica, FakeShard, shard_product
from tests.unit.query_api.test_shards import SEARCH


@dataclass
class Held(FakeShard):
    """Answers once it is let go; ``name`` is the only product it has."""

    name: str = ""
    go: asyncio.Event = field(default_factory=asyncio.Event)
    is_cancelled: bool = False
    error: Exception | None = None

    async def search(self, request: ShardSearch) -> ShardAnswer:
        self.put(shard_product(self.name))
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        if self.error:
            raise self.error
        return await super().search(request)


@dataclass
class Pair:
    first: Held = field(default_factory=lambda: Held(name="first"))
    second: Held = field(default_factory=lambda: Held(name="second"))
    third: Held = field(default_factory=lambda: Held(name="third"))
    hedges: Hedges = field(default_factory=Hedges)
    metrics: RecordingMetrics = field(default_factory=RecordingMetrics)

    def __post_init__(self) -> None:
        for _ in range(20):
            self.hedges.took("n1", 0.0)

    async def ask(self) -> str:
        replicas = [
            FakeReplica(self.first, node_id="n1"),
            FakeReplica(self.second, node_id="n2"),
            FakeReplica(self.third),
        ]
        scatter = Scatter(FakeDirectory([replicas]), Layout(8, 1), metrics=self.metrics, hedges=self.hedges)
        return (await scatter.search(SEARCH)).answers[0].hits[0].product_id

    def count(self, outcome: str) -> float:
        return self.metrics.values.get(("freshlens_hedges_total", (("outcome", outcome),)), 0)


async def test_a_slow_first_is_overtaken_and_cancelled() -> None:
    pair = Pair()
    pair.second.go.set()
    assert await pair.ask() == "second"
    await asyncio.sleep(0)
    assert pair.first.is_cancelled
    assert not pair.third.asked
    assert (pair.count("won"), pair.count("lost")) == (1, 0)


async def test_a_first_that_comes_back_in_time_wins() -> None:
    pair = Pair()
    asking = asyncio.ensure_future(pair.ask())
    while not pair.second.products:
        await asyncio.sleep(0)
    pair.first.go.set()
    assert await asking == "first"
    await asyncio.sleep(0)
    assert pair.second.is_cancelled
    assert (pair.count("won"), pair.count("lost")) == (0, 1)


async def test_a_hedge_that_fails_leaves_the_first() -> None:
    pair = Pair()
    pair.second.error = ShardUnavailable("no")
    pair.second.go.set()
    asking = asyncio.ensure_future(pair.ask())
    while not pair.second.products:
        await asyncio.sleep(0)
    pair.first.go.set()
    assert await asking == "first"


async def test_when_both_fail_the_third_is_asked() -> None:
    pair = Pair()
    pair.first.error = pair.second.error = ShardUnavailable("no")
    for each in (pair.first, pair.second, pair.third):
        each.go.set()
    assert await pair.ask() == "third"


async def test_a_first_that_fails_at_once_is_no_hedge() -> None:
    pair = Pair()
    pair.first.error = ShardUnavailable("no")
    pair.first.go.set()
    pair.second.go.set()
    assert await pair.ask() == "second"
    assert (pair.count("won"), pair.count("lost")) == (0, 0)


async def test_a_refusal_is_the_answer() -> None:
    pair = Pair()
    pair.first.error = FilterType("no")
    pair.first.go.set()
    with pytest.raises(FilterType):
        await pair.ask()
    assert not pair.second.products


async def test_nobody_is_doubled_before_there_is_a_measure() -> None:
    pair = Pair(hedges=Hedges())
    pair.hedges = Hedges()
    asking = asyncio.ensure_future(pair.ask())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not pair.second.products
    pair.first.go.set()
    assert await asking == "first"


async def test_who_gives_up_cancels_both() -> None:
    pair = Pair()
    asking = asyncio.ensure_future(pair.ask())
    while not pair.second.products:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0)
    assert pair.first.is_cancelled
    assert pair.second.is_cancelled


def test_the_95th_percentile_decides() -> None:
    hedges = Hedges()
    for number in range(1, 20):
        hedges.took("n", number / 100)
    assert hedges.after_s("n") is None
    hedges.took("n", 0.2)
    assert hedges.after_s("n") == 0.2
    for _ in range(200):
        hedges.took("n", 0.0001)
    assert hedges.after_s("n") == 0.002, "never sooner than the network's jitter"
    assert hedges.after_s("other") is None


def test_one_in_ten_may_be_doubled() -> None:
    hedges = Hedges()
    doubled = 0
    for _ in range(1_000):
        hedges.after_s("n")
        doubled += hedges.take()
    assert doubled == 110 or doubled == 109, "ten saved up, and one for every ten"
