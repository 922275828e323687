"""Asking every shard at once, each replica after the other until one answers; a slow one is doubled by the next."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import aiohttp
import msgspec
import structlog

from query_api.shards.cluster import Cluster
from query_api.shards.hedging import Hedges
from query_api.shards.remote import RemoteShard
from schemas.errors import ShardUnavailable, TransientError
from schemas.identity import ProductKey, partition_of
from schemas.layout import Layout
from schemas.metrics import Metrics, NullMetrics
from schemas.shard import Shard, ShardAnswer, ShardLookup, ShardProducts, ShardSearch

log = structlog.get_logger()

A = TypeVar("A")


class Replica(Protocol):
    """A shard that can be reached, and somebody to tell when it could not, who knows whether that is news."""

    @property
    def shard(self) -> Shard: ...

    @property
    def node_id(self) -> str: ...

    def failed(self) -> bool: ...


class ShardDirectory(Protocol):
    """Who serves a shard; the best to ask comes first."""

    def replicas(self, shard: int) -> Sequence[Replica]: ...


class Answers(msgspec.Struct, Generic[A], frozen=True):
    """What came back: one answer for each shard that gave one."""

    answers: tuple[A, ...]
    total: int

    @property
    def answered(self) -> int:
        return len(self.answers)

    @property
    def is_partial(self) -> bool:
        return len(self.answers) < self.total


class Scatter:
    """Search goes to all shards, look-up to those that hold the products."""

    def __init__(
        self,
        directory: ShardDirectory,
        layout: Layout,
        *,
        metrics: Metrics = NullMetrics(),  # noqa: B008  # reports to nobody
        hedges: Hedges | None = None,
    ) -> None:
        self._directory = directory
        self._layout = layout
        self._metrics = metrics
        self._hedges = hedges or Hedges()

    async def search(self, request: ShardSearch, *, patience_ms: int | None = None) -> Answers[ShardAnswer]:
        """Ask every shard.

        Args:
            patience_ms: once one has answered, the others are not waited for any longer than this in all; None: they
                are, until their time is up.

        Raises:
            QueryError: a shard refuses the request. ShardUnavailable, DeadlineExceeded: not one of them answered.
        """
        if self._layout.shards == 1 and len(only := self._directory.replicas(0)) == 1:  # the usual case
            return Answers((await _asked(only[0], lambda shard: shard.search(request)),), 1)
        now = asyncio.get_running_loop().time
        started = now()

        async def ask(shard: Shard) -> ShardAnswer:
            return await shard.search(_in_time(request, (now() - started) * 1000))

        patience_s = None if patience_ms is None else patience_ms / 1000
        return await self._each(dict.fromkeys(range(self._layout.shards), ask), patience_s)

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

    async def _each(
        self, questions: Mapping[int, Callable[[Shard], Awaitable[A]]], patience_s: float | None = None
    ) -> Answers[A]:
        if len(questions) == 1:  # the usual case costs no task
            ((shard, question),) = questions.items()
            return Answers((await self._ask(shard, question),), 1)
        asked = [_started(self._ask(shard, question)) for shard, question in questions.items()]
        try:
            _, late = await asyncio.wait(asked, timeout=patience_s)
            while late and not any(map(_has_answered, asked)):
                _, late = await asyncio.wait(late, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in asked:
                task.cancel()  # does nothing to those that are done
        return _gathered([task for task in asked if task.done()], len(questions))

    async def _ask(self, shard: int, question: Callable[[Shard], Awaitable[A]]) -> A:
        replicas = self._directory.replicas(shard)
        if len(replicas) == 1:
            return await _asked(replicas[0], question)
        last = ShardUnavailable(f"no node serves shard {shard} now")
        if len(replicas) > 1:
            try:
                return await self._hedged(replicas[0], replicas[1], question)
            except ShardUnavailable as error:
                last = error
        for replica in replicas[2:]:
            try:
                return await _asked(replica, question)
            except ShardUnavailable as error:
                last = error
        raise last

    async def _hedged(self, first: Replica, second: Replica, question: Callable[[Shard], Awaitable[A]]) -> A:
        """The answer of the first; or, once it takes longer than usual or fails, of whichever of the two comes first.

        Exactly one answer is used; what the other was asked is cancelled (HOLES 24).
        """
        after_s = self._hedges.after_s(first.node_id)
        asked = _started(self._timed(first, question))
        try:
            await asyncio.wait({asked}, timeout=after_s)
            if not asked.done() and not self._hedges.take():
                await asyncio.wait({asked})
            if not asked.done():
                return await self._race(asked, _started(self._timed(second, question)))
        finally:
            asked.cancel()
        if isinstance(asked.exception(), ShardUnavailable):
            return await _asked(second, question)
        return asked.result()

    async def _race(self, asked: "asyncio.Task[A]", hedge: "asyncio.Task[A]") -> A:
        try:
            await asyncio.wait({asked, hedge}, return_when=asyncio.FIRST_COMPLETED)
            chosen, other = (asked, hedge) if asked.done() else (hedge, asked)
            if isinstance(chosen.exception(), ShardUnavailable):
                await asyncio.wait({other})
                chosen = other
            self._metrics.count("freshlens_hedges_total", outcome="won" if chosen is hedge else "lost")
            return chosen.result()
        finally:
            hedge.cancel()

    async def _timed(self, replica: Replica, question: Callable[[Shard], Awaitable[A]]) -> A:
        now = asyncio.get_running_loop().time
        started = now()
        try:
            return await _asked(replica, question)
        finally:
            # Also of one that was given up: otherwise a node that became slow would look fast for ever.
            self._hedges.took(replica.node_id, now() - started)


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
class InProcess:
    """The shard that this process serves itself: a replica that is asked without a hop.

    Attributes:
        number: of the shard in the layout.
        answers: whether it would be answered now.
    """

    number: int
    shard: Shard
    answers: Callable[[], bool]
    node_id: str

    def failed(self) -> bool:
        """Nothing to remember: the next search asks again whether it answers."""
        return True


class LocalFirst:
    """A ShardDirectory that knows nobody else for this process's own shard, as long as that answers."""

    def __init__(self, local: InProcess, others: ShardDirectory) -> None:
        self._local, self._own, self._others = local, (local,), others

    def replicas(self, shard: int) -> Sequence[Replica]:
        """Our own shard alone; of others, and while ours does not answer, what the others' directory says."""
        if shard == self._local.number and self._local.answers():
            return self._own
        return self._others.replicas(shard)


@dataclass(frozen=True, slots=True)
class _RoutedReplica:
    shard: Shard
    on_failure: Callable[[str], bool]
    node_id: str

    def failed(self) -> bool:
        return self.on_failure(self.node_id)


def _started(work: Coroutine[None, None, A]) -> "asyncio.Task[A]":
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to look at it
    return task


def _has_answered(task: "asyncio.Task[A]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _gathered(done: Sequence["asyncio.Task[A]"], total: int) -> Answers[A]:
    """What came back of so many questions; raises what a shard refuses, and the last reason where nothing came back."""
    failures = [error for task in done if (error := task.exception()) is not None]
    for error in failures:
        if not isinstance(error, TransientError):
            raise error
    answers = tuple(task.result() for task in done if _has_answered(task))
    if failures and not answers:
        raise failures[-1]
    return Answers(answers, total)


async def _asked(replica: Replica, question: Callable[[Shard], Awaitable[A]]) -> A:
    try:
        return await question(replica.shard)
    except ShardUnavailable as error:
        if replica.failed():  # and not once for each search that comes meanwhile
            log.warning("shard unavailable", node=replica.node_id, error=error.message)
        raise


def _in_time(request: ShardSearch, passed_ms: float) -> ShardSearch:
    """The request with the time that is left of it; raises ShardUnavailable when there is none."""
    if passed_ms < 1:
        return request
    waited_ms = min(request.wait_ms, int(passed_ms))
    left_ms = request.timeout_ms - (int(passed_ms) - waited_ms)
    if left_ms <= 0:
        raise ShardUnavailable(f"no time is left of timeout_ms={request.timeout_ms} to ask another node")
    return msgspec.structs.replace(request, timeout_ms=left_ms, wait_ms=request.wait_ms - waited_ms)


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
