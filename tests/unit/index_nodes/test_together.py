"""Searches that come at the same time: what each finds is what it would have found alone."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace

from index_nodes.generations.ivf import IvfIndex
from index_nodes.settings import NodeSettings
from index_nodes.shard import LocalShard
from schemas.clock import ManualClock
from schemas.embeddings import Space, Vector
from schemas.metrics import NullMetrics
from schemas.shard import ShardSearch
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from topics.settings import KafkaSettings

ROWS = 4_000


@pytest.fixture(scope="module")
def vectors() -> Vector:
    random = np.random.default_rng(5)
    rows = random.standard_normal((30, 64))[random.integers(0, 30, ROWS)] + 0.7 * random.standard_normal((ROWS, 64))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def compacted(tmp_path_factory: pytest.TempPathFactory, vectors: Vector) -> Index:
    """Most in the generation and some behind it, some of two views, some deleted. No test changes it."""
    index = Index(tmp_path_factory.mktemp("together"), records.lane_of(Space("s", 64)), block_rows=4096)
    space = index.lane.space
    index.apply(
        *(
            records.content(f"p{n}", 1, [vectors[n], vectors[n - 1]] if n % 5 == 0 else [vectors[n]], space=space)
            for n in range(ROWS)
        )
    )
    index.compact_and_swap()
    index.apply(*(records.delete(f"p{n}", 2) for n in range(0, ROWS, 100)))
    index.apply(*(records.content(f"new{n}", 1, [vectors[n]], space=space) for n in range(0, ROWS, 50)))
    return index


@pytest.fixture(params=[0, 100], ids=["all are searched", "some are remembered"])
def shard(compacted: Index, request: pytest.FixtureRequest) -> Iterator[LocalShard]:
    node = NodeSettings(KafkaSettings("localhost:9092"), compacted.lane, "", hot_searches_max=request.param)
    follower = SimpleNamespace(answering=compacted.replica)
    shard = LocalShard(node, follower, ManualClock(), NullMetrics())  # type: ignore[arg-type]
    yield shard
    shard.close()


def asked(index: Index, query: Vector, **over: object) -> ShardSearch:
    lane = index.lane
    request = ShardSearch(
        lane=lane.name,
        layout_id=lane.layout.layout_id,
        tenant="default",
        vector=query.astype("<f4").tobytes(),
        in_company=True,
    )
    return replace(request, **over)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries each call of FAISS had."""
    counted: list[int] = []
    nearest = IvfIndex._nearest

    def counting(index: IvfIndex, queries: Vector, *rest: object) -> object:
        counted.append(len(queries))
        return nearest(index, queries, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(IvfIndex, "_nearest", counting)
    return counted


@pytest.mark.parametrize("over", [{}, {"collapse": True}, {"k": 200}, {"effort": 0.5}, {"with_vectors": True}])
async def test_each_finds_what_it_would_have_found_alone(
    compacted: Index, shard: LocalShard, vectors: Vector, calls: list[int], over: dict[str, object]
) -> None:
    asking = [asked(compacted, query, **over) for query in vectors[7:500:31]]
    alone = [await shard.search(replace(each, in_company=False)) for each in asking]
    calls.clear()
    if shard._hot is not None:
        shard._hot._kept.clear()
    together = await asyncio.gather(*map(shard.search, asking))
    assert [answer.hits for answer in together] == [answer.hits for answer in alone]
    assert calls[0] == len(asking)
    assert not shard._companies


async def test_those_that_differ_are_no_company(
    compacted: Index, shard: LocalShard, vectors: Vector, calls: list[int]
) -> None:
    asking = [
        asked(compacted, vectors[7]),
        asked(compacted, vectors[8]),
        asked(compacted, vectors[9], k=3),
        asked(compacted, vectors[10], tenant="nobody"),
        asked(compacted, vectors[11], vector=None),
    ]
    alone = [await shard.search(replace(each, in_company=False)) for each in asking]
    if shard._hot is not None:
        shard._hot._kept.clear()
    calls.clear()
    together = await asyncio.gather(*map(shard.search, asking))
    assert [answer.hits for answer in together] == [answer.hits for answer in alone]
    assert calls[:2] == [2, 1]


@pytest.mark.parametrize("shard", [100], indirect=True)
async def test_what_is_remembered_is_not_looked_for(
    compacted: Index, shard: LocalShard, vectors: Vector, calls: list[int]
) -> None:
    asking = [asked(compacted, query) for query in vectors[7:100:31]]
    first = await asyncio.gather(*map(shard.search, asking))
    calls.clear()
    again = await asyncio.gather(*map(shard.search, asking))
    assert [answer.hits for answer in again] == [answer.hits for answer in first]
    assert not calls
