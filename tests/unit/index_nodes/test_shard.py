"""The shard of this process: what an answer says of itself is of the view that was searched."""

import asyncio
import threading
from types import SimpleNamespace

import msgspec
import pytest

from index_nodes import shard as shard_module
from index_nodes.settings import NodeSettings
from index_nodes.shard import LocalShard
from index_nodes.views.search import Found
from schemas.clock import ManualClock
from schemas.fields import Kind
from schemas.filters import parse_filter
from schemas.metrics import NullMetrics
from schemas.shard import ShardSearch
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from topics.settings import KafkaSettings

RED = records.picture(1)


def serving(index: Index) -> LocalShard:
    node = NodeSettings(KafkaSettings("localhost:9092"), index.lane, "")
    follower = SimpleNamespace(answering=index.replica)
    return LocalShard(node, follower, ManualClock(), NullMetrics())  # type: ignore[arg-type]


def asking(index: Index, **fields: object) -> ShardSearch:
    """A search for red, as it is but for the fields."""
    plain = ShardSearch(
        lane=index.lane.name,
        layout_id=index.lane.layout.layout_id,
        tenant="default",
        vector=RED.astype("<f4").tobytes(),
    )
    return msgspec.structs.replace(plain, **fields)


@pytest.mark.parametrize("exact", [False, True])
async def test_an_answer_is_as_fresh_as_the_view_that_was_searched(
    index: Index, monkeypatch: pytest.MonkeyPatch, exact: bool
) -> None:
    """While a search runs in the pool the replica goes on; what comes meanwhile the answer must not claim."""
    index.apply(records.content("before", 1, [RED]))
    known = dict(index.view.offsets.applied)
    search = shard_module.search

    def slowly(*given: object, **named: object) -> Found:
        index.apply(records.content("meanwhile", 1, [RED]))
        return search(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(shard_module, "search", slowly)
    shard = serving(index)
    answer = await asyncio.wait_for(shard.search(asking(index, exact=exact)), 30)
    shard.close()
    assert [hit.product_id for hit in answer.hits] == ["before"]
    assert answer.state.applied == known
    assert dict(index.view.offsets.applied) != known


@pytest.mark.parametrize(
    ("asked", "is_on_loop"),
    [({}, True), ({"collapse": True}, False), ({"vector": None}, False), ({"exact": True}, False)],
)
async def test_what_may_look_at_every_product_does_not_hold_up_the_event_loop(
    index: Index, monkeypatch: pytest.MonkeyPatch, asked: dict[str, object], is_on_loop: bool
) -> None:
    index.apply(records.content("p", 1, [RED]))
    search, threads = shard_module.search, []

    def noted(*given: object, **named: object) -> Found:
        threads.append(threading.get_ident())
        return search(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(shard_module, "search", noted)
    shard = serving(index)
    answer = await shard.search(asking(index, **asked))
    shard.close()
    assert [hit.product_id for hit in answer.hits] == ["p"]
    assert (threads == [threading.get_ident()]) is is_on_loop


async def test_what_nothing_here_has_is_told_with_what_there_is(index: Index) -> None:
    """It passes no clause here; whether it is refused is for who asked all shards to say."""
    shard = serving(index)
    index.apply(records.content("a", 1, [RED], attributes={"size": "M"}))
    index.apply(records.content("b", 1, [RED], attributes={"size": 42}))
    for _ in range(2):
        built_in = {"in_stock": (Kind.BOOLEAN,), "product_id": (Kind.STRING,)}
        has = {**built_in, "size": (Kind.NUMBER, Kind.STRING)}
        for filter_, passing in (
            ({"colour": "red"}, []),
            ({"not": {"colour": "red"}}, ["a", "b"]),
            ({"size": True}, []),
        ):
            answer = await shard.search(asking(index, filter=parse_filter(filter_)))
            assert ([hit.product_id for hit in answer.hits], answer.kinds) == (passing, has)
        assert (await shard.search(asking(index, preferred=("size", "colour")))).kinds == has
        assert (await shard.search(asking(index, preferred=("size",)))).kinds is None
        assert (await shard.search(asking(index, filter=parse_filter({"size": ["L", 1]})))).kinds is None
        assert (await shard.search(asking(index, filter=parse_filter({"a": 1}), tenant="empty"))).kinds == {}
        index.compact_and_swap()
    shard.close()
