"""What does an overload do to searches, with and without leaving things out?

One API process over one node in the same process, 30,000 products of 256 dimensions; searches by vector that ask for
diversity, so that 500 candidates come with their vectors. As many callers as make a search take half a second when
nothing is left out, each of which asks again as soon as it is answered. Encoder, network and HTTP are left out.

    python -m benchmarks.overload [--rows 30000] [--seconds 10]
"""

import argparse
import asyncio
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.in_memory import MemoryLog
from benchmarks.own_vectors import DIM, clustered, make_centres
from benchmarks.prepared import restored
from benchmarks.products import TENANT, made_of
from benchmarks.report import save, spread
from index_nodes.compaction.compaction import compact_once
from index_nodes.replicas.replica import Replica
from index_nodes.settings import NodeSettings
from index_nodes.shard import LocalShard
from query_api.access.identity import Caller
from query_api.encoder.client import NoEncoder
from query_api.feedback_out import FeedbackOut
from query_api.parts import Parts
from query_api.query.request import Query, SearchBody, query_of_body
from query_api.search.pipeline import Searcher
from query_api.settings import TARGET_MS, ApiSettings
from query_api.shards.cluster import Cluster
from schemas.clock import SystemClock
from schemas.lane import Lane
from schemas.metrics import NullMetrics, RecordingMetrics
from schemas.shard import Shard, ShardAnswer, ShardLookup, ShardProducts, ShardSearch
from schemas.tenants import TenantDeclaration
from topics.settings import KafkaSettings
from topics.store import FileStore

LATE_MS = 500.0
NEVER_MS = 1_000_000
_ALONE = 50


@dataclass(frozen=True)
class Apart:
    """The node as if it were another process: whoever asks it lets others go on meanwhile."""

    node: LocalShard

    async def search(self, request: ShardSearch) -> ShardAnswer:
        await asyncio.sleep(0)
        return await self.node.search(request)

    async def lookup(self, request: ShardLookup) -> ShardProducts:
        return await self.node.lookup(request)


@dataclass(frozen=True)
class OneNode:
    """The directory, and its only replica."""

    shard: Shard
    node_id: str = "n0"

    def replicas(self, shard: int) -> "Sequence[OneNode]":  # noqa: ARG002
        return [self]

    def failed(self) -> None:
        raise AssertionError("the node answers")


@dataclass(frozen=True)
class Serving:
    """A follower that serves one replica."""

    answering: Replica


class NoTenants:
    """Nobody declared anything."""

    def declaration(self, tenant: str) -> TenantDeclaration:
        return TenantDeclaration(tenant)


def main() -> None:
    """Measure both, and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(_measured(Path(folder), given.rows, given.seconds))
    save("overload", str(__doc__).splitlines()[0], figures)


async def _measured(folder: Path, rows: int, seconds: float) -> dict[str, Any]:
    centres = make_centres()
    products = made_of(clustered(rows, 2, centres).astype(np.float16), DIM, rows)
    log, store = MemoryLog(products.lane), FileStore(folder)
    for number in range(rows):
        log.append(*products.added(number))
    compact_once(log, store, products.lane, 0)
    shard = LocalShard(
        NodeSettings(KafkaSettings("localhost:9092"), products.lane, str(folder)),
        Serving(restored(store, products.lane, log)),  # type: ignore[arg-type]
        SystemClock(),
        NullMetrics(),
    )
    settings = _settings(products.lane, folder, TARGET_MS)
    queries = [_query(row, settings) for row in clustered(200, 3, centres)]
    alone_ms = await _alone(_searcher(shard, _settings(products.lane, folder, NEVER_MS))[0], queries)
    callers = max(2, math.ceil(LATE_MS / alone_ms))
    figures: dict[str, Any] = {"rows": rows, "one_search_ms": round(alone_ms, 2), "callers": callers}
    for name, target_ms in (("nothing_left_out", NEVER_MS), ("steps", TARGET_MS)):
        searcher, metrics = _searcher(shard, _settings(products.lane, folder, target_ms))
        figures[name] = await _load(searcher, metrics, queries, callers, seconds)
    shard.close()
    return figures


def _settings(lane: Lane, folder: Path, target_ms: int) -> ApiSettings:
    kafka = KafkaSettings("localhost:9092")
    return ApiSettings(kafka, lane, str(folder), encoder=f"none:{DIM}", target_ms=target_ms)


def _query(vector: Any, settings: ApiSettings) -> Query:
    return query_of_body(SearchBody(vector=vector.tolist(), k=10, diversity=0.3), settings)


def _searcher(shard: LocalShard, settings: ApiSettings) -> tuple[Searcher, RecordingMetrics]:
    metrics, clock = RecordingMetrics(), SystemClock()
    parts = Parts(
        settings=settings,
        cluster=Cluster(settings.lane, clock, node_age_max_s=10),
        directory=OneNode(Apart(shard)),
        encoder=NoEncoder(settings.lane.space),
        publisher=None,  # type: ignore[arg-type]  # nothing is published here
        tenants=NoTenants(),
        store=FileStore(Path(settings.store_url)),
        feedback=FeedbackOut(NullMetrics()),
        metrics=metrics,
        clock=clock,
    )
    return parts.searcher(), metrics


async def _alone(searcher: Searcher, queries: Sequence[Query]) -> float:
    taken = []
    for query in queries[:_ALONE]:
        began = time.perf_counter()
        await searcher.search(Caller(TENANT), query)
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


async def _load(
    searcher: Searcher, metrics: RecordingMetrics, queries: Sequence[Query], callers: int, seconds: float
) -> dict[str, Any]:
    await _alone(searcher, queries)  # an overload does not meet a process that has never answered
    taken: list[float] = []
    end = time.perf_counter() + seconds

    async def call(number: int) -> None:
        while time.perf_counter() < end:
            # A turn for the others, as reading a request from a socket would give them.
            began = time.perf_counter()
            await asyncio.sleep(0)
            answer = await searcher.search(Caller(TENANT), queries[number % len(queries)])
            msgspec.json.encode(answer)
            taken.append(time.perf_counter() - began)
            number += callers

    await asyncio.gather(*(call(number) for number in range(callers)))
    steps = {
        dict(labels)["step"]: int(count)
        for (name, labels), count in metrics.values.items()
        if name == "freshlens_degraded_total"
    }
    return {**spread(taken), "per_second": round(len(taken) / seconds, 1), "steps": steps}


if __name__ == "__main__":
    main()
