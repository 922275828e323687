"""No ghosts under a cache: whatever happens to products, a search that was asked before says what is so now."""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from index_nodes.settings import NodeSettings
from index_nodes.shard import LocalShard
from query_api.access.identity import Caller
from query_api.query.matching import passes
from query_api.query.request import SearchBody, query_of_body
from query_api.ranking.rule_store import RuleBook
from query_api.ranking.rules import Rule, RuleSet
from query_api.ranking.settings import RankSettings
from query_api.search import answers
from query_api.search.pipeline import Searcher
from schemas.clock import ManualClock
from schemas.filters import parse_filter
from schemas.metrics import RecordingMetrics
from schemas.shard import ShardHit
from tests.property.test_rules import LANE, Serving, parts_of
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from tests.unit.query_api.doubles import api_settings
from topics.settings import KafkaSettings

TENANTS = ("shop", "shop", "other")
IDS = [f"p{number}" for number in range(12)]
PICTURES = [records.picture(number) for number in range(len(IDS) + 2)]
FILTERS: list[dict[str, Any] | None] = [
    None,
    {"in_stock": True},
    {"colour": "red"},
    {"not": {"colour": "red"}},
    {"price": {"lt": 5}},
]
_products = st.sampled_from(IDS)
_tenants = st.sampled_from(TENANTS)


@dataclass(frozen=True)
class Known:
    """A product that can be found, as it was last published."""

    hit: ShardHit
    picture: int


class HotSearches(RuleBasedStateMachine):
    """The whole pipeline twice over one index: with a node that remembers searches, and with one that does not."""

    @initialize(stock=st.sampled_from(["as-is", "hidden"]))
    def start(self, stock: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="freshlens-hot-"))
        self.index = Index(self.folder, LANE, block_rows=4)
        self.serving, self.book, self.metrics = Serving(self.index), RuleBook(), RecordingMetrics()
        self.rank = RankSettings(out_of_stock=stock)  # type: ignore[arg-type]
        self.shards: list[LocalShard] = []
        self.hot, self.cold = self._searcher(remembered=6), self._searcher(remembered=0)
        self.there: dict[tuple[str, str], Known] = {}
        self.version = 0
        for number, product_id in enumerate(IDS):
            self.publish(product_id, "shop", number, "red", 3)
        self.compact()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            for shard in self.shards:
                shard.close()
            self.index.replica.close()
            shutil.rmtree(self.folder)

    def _searcher(self, remembered: int) -> Searcher:
        node = NodeSettings(KafkaSettings("localhost:9092"), LANE, "", hot_searches_max=remembered)
        self.shards.append(LocalShard(node, self.serving, ManualClock(), self.metrics))  # type: ignore[arg-type]
        return parts_of(self.shards[-1], self.book, self.rank, self.folder).searcher()

    @rule(
        product_id=_products,
        tenant=_tenants,
        picture=st.integers(0, len(IDS) - 1),
        colour=st.sampled_from(["red", "blue"]),
        stock=st.integers(0, 2),
    )
    def publish(self, product_id: str, tenant: str, picture: int, colour: str, stock: int) -> None:
        self.version += 1
        content = records.content(
            product_id, self.version, [PICTURES[picture]], tenant=tenant, attributes={"colour": colour}
        )
        self.index.apply(content, records.offer(product_id, self.version, 9.0, tenant=tenant, stock=stock))
        hit = _hit(product_id, self.version, colour, 9.0, stock)
        self.there[tenant, product_id] = Known(hit, picture)

    @rule(product_id=_products, tenant=_tenants)
    def delete(self, product_id: str, tenant: str) -> None:
        """Also what a ban comes to."""
        self.version += 1
        self.index.apply(records.delete(product_id, self.version, tenant=tenant))
        self.there.pop((tenant, product_id), None)

    @rule(product_id=_products, tenant=_tenants, price=st.sampled_from([1.0, 9.0]), stock=st.integers(0, 1))
    def change_the_offer(self, product_id: str, tenant: str, price: float, stock: int) -> None:
        """Sold out, back in stock, cheaper."""
        if (known := self.there.get((tenant, product_id))) is None:
            return
        self.version += 1
        self.index.apply(records.offer(product_id, self.version, price, tenant=tenant, stock=stock))
        hit = _hit(product_id, self.version, str(known.hit.attributes["colour"]), price, stock)
        self.there[tenant, product_id] = replace(known, hit=hit)

    @rule(pinned=_products, buried=_products)
    def set_rules(self, pinned: str, buried: str) -> None:
        rules = (
            Rule(name="pin", action="pin", products=(pinned,)),
            Rule(name="bury", action="bury", products=(buried,), by=5.0),
        )
        self.book._known = {"shop": RuleSet(tenant="shop", version=self.version, rules=rules)}

    @rule()
    def compact(self) -> None:
        """A new generation takes over."""
        before = self.index.replica
        self.index.compact_and_swap()
        self.serving.answering = self.index.replica
        before.close()

    @rule(
        picture=st.integers(len(IDS) - 1, len(PICTURES) - 1),
        filter_=st.sampled_from(FILTERS),
        k=st.sampled_from([2, 2, 5]),
        tenant=_tenants,
        collapse=st.booleans(),
    )
    def search(self, picture: int, filter_: dict[str, Any] | None, k: int, tenant: str, collapse: bool) -> None:
        body = SearchBody(vector=PICTURES[picture].tolist(), filter=filter_, k=k, collapse=collapse)
        query = query_of_body(body, api_settings(lane=LANE, rank=self.rank))
        hot, cold = (asyncio.run(each.search(Caller(tenant), query)) for each in (self.hot, self.cold))
        assert hot.results == cold.results
        assert (hot.total_candidates, hot.no_match, hot.read_token) == (
            cold.total_candidates,
            cold.no_match,
            cold.read_token,
        )
        self._check(hot.results, tenant, filter_, k, PICTURES[picture])

    def _check(
        self, results: Sequence[answers.Result], tenant: str, filter_: dict[str, Any] | None, k: int, query: Any
    ) -> None:
        passing = {
            product_id: known
            for (owner, product_id), known in self.there.items()
            if owner == tenant
            and (filter_ is None or passes(parse_filter(filter_), known.hit))
            and (known.hit.in_stock or self.rank.out_of_stock != "hidden")
        }
        assert len(results) == min(k, len(passing))
        for result in results:
            known = passing[result.product_id]  # a ghost is none of these
            assert (result.version, result.price, result.stock) == (
                known.hit.version,
                known.hit.price,
                known.hit.stock,
            )
            assert abs(result.similarity - float(query @ PICTURES[known.picture])) < 2e-3
        if tenant == "other":  # without rules the nearest are shown
            best = sorted((float(query @ PICTURES[known.picture]) for known in passing.values()), reverse=True)
            assert np.allclose([result.similarity for result in results], best[: len(results)], atol=2e-3)


def _hit(product_id: str, version: int, colour: str, price: float, stock: int) -> ShardHit:
    return ShardHit(
        product_id=product_id,
        similarity=0.0,
        source="main",
        version=version,
        attributes={"colour": colour},
        price=price,
        stock=stock,
        in_stock=stock > 0,
    )


HotSearches.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestHotSearches = HotSearches.TestCase
