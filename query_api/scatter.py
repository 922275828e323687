"""Asking every shard at once, each replica after the other until one answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import aiohttp
import structlog

from query_api.cluster import Cluster
from query_api.shards import RemoteShard
from schemas.errors import ShardUnavailable, TransientError
from schemas.identity import ProductKey, partition_of
from schemas.layout import Layout
from schemas.shard import Shard, ShardAnswer, ShardLookup, ShardProducts, ShardSearch

log = structlog.get_logger()

A = TypeVar("A")


class Replica(Protocol):
    """A shard that can be reached, and somebody to tell when it could not."""

    @property
    def shard(self) -> Shard: ...

    def failed(self) -> None: ...


class ShardDirectory(Protocol):
    """Who serves a shard; the best to ask comes first."""

    def replicas(self, shard: int) -> Sequence[Replica]: ...


@dataclass(frozen=True, slots=True)
class Answers(Generic[A]):
    """What came back: one answer for each shard that gave one."""

    answers: tuple[A, ...]
    total: int

    @property
    def answered(self) -> int:
        return len(self.answers)

    @property
    def is_partial(self) -> bool:
        return self.answered < self.total


class Scatter:
    """Search goes to all shards, look-up to those that hold the products."""

    def __init__(self, directory: ShardDirectory, layout: Layout) -> None:
        self._directory = directory
        self._layout = layout

    async def search(self, request: ShardSearch) -> Answers[ShardAnswer]:
        """Ask every shard.

        Raises:
            QueryError: a shard refuses the request. ShardUnavailable, DeadlineExceeded: not one of them answered.
        """

        async def ask(shard: Shard) -> ShardAnswer:
            return await shard.search(request)

        return await self._each(dict.fromkeys(range(self._layout.shards), ask))

    async def lookup(self, request: ShardLookup) -> Answers[ShardProducts]:
        """Ask those shards that hold the products; with none named, every shard, for its state.

        Raises:
            ShardUnavailable: not one of them answered.
        """
        return await self._each({shard: _looking_up(part) for shard, part in self._split(request).items()})

    def _split(self, request: ShardLookup) -> dict[int, ShardLookup]:
        if not request.product_ids:
            return dict.fromkeys(range(self._layout.shards), request)
        by_shard: dict[int, list[str]] = {}
        for product_id in request.product_ids:
            shard = shard_of(ProductKey(request.tenant, product_id), self._layout)
            by_shard.setdefault(shard, []).append(product_id)
        return {shard: _with_ids(request, tuple(ids)) for shard, ids in by_shard.items()}

    async def _each(self, questions: Mapping[int, Callable[[Shard], Awaitable[A]]]) -> Answers[A]:
        if len(questions) == 1:  # the usual case costs no task
            ((shard, question),) = questions.items()
            return Answers((await self._ask(shard, question),), 1)
        outcomes = await asyncio.gather(
            *(self._ask(shard, question) for shard, question in questions.items()), return_exceptions=True
        )
        answers: list[A] = []
        last: TransientError | None = None
        for outcome in outcomes:
            if isinstance(outcome, TransientError):
                last = outcome
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                answers.append(outcome)
        if last is not None and not answers:
            raise last
        return Answers(tuple(answers), len(questions))

    async def _ask(self, shard: int, question: Callable[[Shard], Awaitable[A]]) -> A:
        last = ShardUnavailable(f"no node serves shard {shard} now")
        for replica in self._directory.replicas(shard):
            try:
                return await question(replica.shard)
            except ShardUnavailable as error:
                log.warning("shard unavailable", shard=shard, error=error.message)
                replica.failed()
                last = error
        raise last


class RoutedShards:
    """A ShardDirectory over HTTP, by what nodes report."""

    def __init__(self, cluster: Cluster, session: aiohttp.ClientSession) -> None:
        self._cluster = cluster
        self._session = session
        self._by_url: dict[str, RemoteShard] = {}

    def replicas(self, shard: int) -> Sequence[Replica]:
        """The nodes of a shard, the best first."""
        routes = self._cluster.routes
        return [
            _RoutedReplica(self._remote(status.url), routes.failed, status.node_id)
            for status in routes.of_shard(shard, self._cluster.now())
        ]

    def _remote(self, url: str) -> RemoteShard:
        if url not in self._by_url:
            self._by_url[url] = RemoteShard(self._session, url)
        return self._by_url[url]


@dataclass(frozen=True, slots=True)
class _RoutedReplica:
    shard: Shard
    on_failure: Callable[[str], None]
    node_id: str

    def failed(self) -> None:
        self.on_failure(self.node_id)


def shard_of(key: ProductKey, layout: Layout) -> int:
    """The shard that holds a product."""
    return partition_of(key, layout.partitions) % layout.shards


def _looking_up(request: ShardLookup) -> Callable[[Shard], Awaitable[ShardProducts]]:
    async def ask(shard: Shard) -> ShardProducts:
        return await shard.lookup(request)

    return ask


def _with_ids(request: ShardLookup, product_ids: tuple[str, ...]) -> ShardLookup:
    return ShardLookup(
        lane=request.lane,
        layout_id=request.layout_id,
        tenant=request.tenant,
        product_ids=product_ids,
        with_vectors=request.with_vectors,
        min_applied=request.min_applied,
        wait_ms=request.wait_ms,
    )
