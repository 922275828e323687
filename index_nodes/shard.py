"""The shard protocol answered by a node: waits for freshness, captures a view, searches it."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from index_nodes.replicas.follower import Follower
from index_nodes.replicas.replica import Replica
from index_nodes.rows.passing import Nearest
from index_nodes.settings import NodeSettings
from index_nodes.views.hot_searches import HotSearches
from index_nodes.views.search import Found, product, search
from index_nodes.views.together import Together
from index_nodes.views.view import IndexView
from schemas.clock import Clock
from schemas.embeddings import Vector
from schemas.errors import DeadlineExceeded, InvalidQuery, ShardUnavailable
from schemas.fields import Kind
from schemas.filters import kinds_of, leaves
from schemas.metrics import Metrics
from schemas.shard import ShardAnswer, ShardLookup, ShardProducts, ShardSearch, ShardState

K_MAX = 1000
_IDS_MAX = 10_000


class LocalShard:
    """A :class:`schemas.shard.Shard` in this process; all calls on one event loop.

    A plain search takes well under a millisecond and runs where it is asked for, since a hop to a thread costs more;
    filtered and exact ones may scan, so they run in a small pool.
    """

    def __init__(self, settings: NodeSettings, follower: Follower, clock: Clock, metrics: Metrics) -> None:
        self._settings, self._follower, self._clock, self._metrics = settings, follower, clock, metrics
        self._changed = asyncio.Event()
        self._pool = ThreadPoolExecutor(2, "search")
        self._hot = HotSearches(settings.hot_searches_max, metrics) if settings.hot_searches_max else None
        self._companies: dict[tuple[int, str, int, float], Together] = {}
        self._last_state: tuple[IndexView, ShardState] | None = None
        self._served = (settings.lane.name, settings.lane.layout.layout_id)

    @property
    def answers(self) -> bool:
        """Whether a question would be answered now."""
        return self._follower.answering is not None

    def notify(self) -> None:
        """Wake those who wait for freshness; called on the event loop after each new view."""
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def search(self, request: ShardSearch) -> ShardAnswer:
        """Raises InvalidQuery; ShardUnavailable if this node cannot answer; DeadlineExceeded."""
        self._check(request.lane, request.layout_id)
        query = self._query(request)
        replica, is_met, waited_ms = self._serving(), True, 0.0
        if request.min_applied:
            replica, is_met, waited_ms = await self._fresh(request.min_applied, request.wait_ms)
        view, in_main = replica.view, None
        selects = request.filter is not None or request.exact or bool(request.facets)
        if request.in_company and query is not None and not selects:
            in_main = await self._together_with(view, request, query)
        started = time.perf_counter()
        find = partial(self._found, view, request, query, in_main)
        # What may have to look at every product is no work for the event loop.
        may_be_long = selects or request.collapse or query is None
        found = await self._found_in_pool(request, find) if may_be_long else find()
        taken_s = time.perf_counter() - started
        self._metrics.observe("freshlens_shard_search_seconds", taken_s, plan="exact" if request.exact else "index")
        return ShardAnswer(
            state=self._state(replica, view),
            hits=found.hits,
            total_candidates=found.candidates,
            freshness_met=is_met,
            search_ms=round(taken_s * 1000, 3),
            waited_ms=waited_ms,
            facets=found.facets,
            kinds=_kinds_unless_all(view.kinds(request.tenant), request),
        )

    async def lookup(self, request: ShardLookup) -> ShardProducts:
        """Raises as :meth:`search`."""
        self._check(request.lane, request.layout_id)
        if len(request.product_ids) > _IDS_MAX:
            raise InvalidQuery(f"at most {_IDS_MAX} products at once")
        replica, is_met, waited_ms = await self._fresh(request.min_applied, request.wait_ms)
        view = replica.view
        found = (
            product(view, request.tenant, product_id, with_vectors=request.with_vectors)
            for product_id in request.product_ids
        )
        products = tuple(each for each in found if each is not None)
        return ShardProducts(
            state=self._state(replica, view), products=products, freshness_met=is_met, waited_ms=waited_ms
        )

    def _state(self, replica: Replica, view: IndexView) -> ShardState:
        """How fresh an answer of this view is, which may no longer be the replica's newest."""
        lag_ms = replica.lag_ms(self._clock.now_us())
        is_held_up = bool(replica.applier.blocked) or view.offsets.is_skimmed
        stale = is_held_up or lag_ms > self._settings.stale_after_ms
        if self._last_state is not None and self._last_state[0] is view:
            last = self._last_state[1]
            if (last.lag_ms, last.stale, last.generation) == (lag_ms, stale, replica.seq):
                return last
        state = ShardState(
            shard=self._settings.shard,
            generation=replica.seq,
            applied={partition: int(offset) for partition, offset in view.offsets.applied.items()},
            lag_ms=lag_ms,
            stale=stale,
            log_id=str(replica.log_id),
        )
        self._last_state = view, state
        return state

    def _check(self, lane: str, layout_id: str) -> None:
        if (lane, layout_id) != (ours := self._served):
            raise ShardUnavailable(
                f"this node serves lane {ours[0]} with layout {ours[1]}, not {lane} with {layout_id}"
            )

    def _query(self, request: ShardSearch) -> Vector | None:
        if not 1 <= request.k <= K_MAX:
            raise InvalidQuery(f"k is {request.k}; it must be 1 to {K_MAX}")
        if not 0 < request.effort <= 1:
            raise InvalidQuery(f"effort is {request.effort}; it is a share above 0")
        if request.vector is None:
            return None
        space = self._settings.lane.space
        if len(request.vector) != 4 * space.dim:
            raise InvalidQuery(f"{len(request.vector)} bytes of vector where space {space} has {4 * space.dim}")
        query: Vector = np.frombuffer(request.vector, "<f4")
        if not math.isfinite(query @ query):
            raise InvalidQuery("the query vector has a value that is not finite")
        return query

    async def _fresh(self, wanted: Mapping[int, int], wait_ms: int) -> tuple[Replica, bool, float]:
        """The replica to answer from, as soon as it has what is wanted or the time is up; whether it has, and how many
        milliseconds that took."""
        began = self._clock.monotonic()
        deadline = began + wait_ms / 1000
        while True:
            changed = self._changed
            replica = self._serving()
            is_met = replica.view.offsets.covers(wanted)
            left_s = deadline - self._clock.monotonic()
            if is_met or left_s <= 0:
                return replica, is_met, round((self._clock.monotonic() - began) * 1000, 3)
            try:
                await asyncio.wait_for(changed.wait(), left_s)
            except TimeoutError:
                continue

    def _serving(self) -> Replica:
        replica = self._follower.answering
        if replica is None:
            raise ShardUnavailable(f"this node is {self._follower.state.value}, not serving")
        return replica

    async def _together_with(self, view: IndexView, request: ShardSearch, query: Vector) -> Callable[[], Nearest]:
        """How the generation will be searched, for this one and all that come in the same turn of the event loop."""
        alike = (id(view), request.tenant, request.k, request.effort)
        if alike not in self._companies:
            self._companies[alike] = Together(view, request.tenant, request.k, request.effort)
            asyncio.get_running_loop().call_soon(self._companies.pop, alike)
        in_main = self._companies[alike].join(query)
        await asyncio.sleep(0)
        return in_main

    def _found(
        self,
        view: IndexView,
        request: ShardSearch,
        query: Vector | None,
        in_main: Callable[[], Nearest] | None,
    ) -> Found:
        return search(
            view,
            tenant=request.tenant,
            query=query,
            k=request.k,
            clause=request.filter,
            exact=request.exact,
            collapse=request.collapse,
            with_vectors=request.with_vectors,
            facets=request.facets,
            effort=request.effort,
            hot=self._hot,
            in_main=in_main,
        )

    async def _found_in_pool(self, request: ShardSearch, find: Callable[[], Found]) -> Found:
        finding = asyncio.get_running_loop().run_in_executor(self._pool, find)
        try:
            return await asyncio.wait_for(finding, request.timeout_ms / 1000)
        except TimeoutError:
            raise DeadlineExceeded(f"not done within {request.timeout_ms} ms") from None


def _kinds_unless_all(kinds: Mapping[str, frozenset[Kind]], request: ShardSearch) -> dict[str, tuple[Kind, ...]] | None:
    """Those that there are, unless all are there that the request asks for."""
    if request.filter is None and not request.preferred:
        return None
    has_all = all(name in kinds for name in request.preferred) and all(
        kinds_of(leaf) <= kinds.get(leaf.field, frozenset()) for leaf in leaves(request.filter)
    )
    return None if has_all else {name: tuple(sorted(of, key=lambda kind: kind.value)) for name, of in kinds.items()}
