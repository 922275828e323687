"""The search pipeline: wait for freshness, find the vector, ask the shards, merge, rank, judge, answer, tell."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET, structs

from processors.pictures.blocklist import BlockList
from processors.pictures.decode import PHASH_BYTES
from query_api.access.identity import Caller
from query_api.feedback_out import FeedbackOut
from query_api.query import fields, picture_gate
from query_api.query.request import Query
from query_api.ranking.extras import Extra, Extras
from query_api.ranking.features import FEATURES
from query_api.ranking.ranked import Ranked
from query_api.ranking.ranker import Plan, Ranker, asked_of
from query_api.ranking.stages import Asked, Outcome
from query_api.search import answers, deadlines, facets
from query_api.search import regions as region_search
from query_api.search.deadlines import Budgets, Cut, Step
from query_api.search.no_match import Thresholds
from query_api.search.pressure import Pressure
from query_api.search.query_vector import QueryVector, QueryVectors
from query_api.settings import TARGET_MS
from query_api.shards import merging
from query_api.shards.cluster import Cluster
from query_api.shards.freshness import Requirement, SessionTokens, answer_token
from query_api.shards.scatter import Answers, Scatter
from schemas.clock import Clock
from schemas.embeddings import to_fp16
from schemas.errors import DeadlineExceeded, FreshnessUnmet, ShardUnavailable
from schemas.feedback import Search, Shown
from schemas.lane import Lane
from schemas.metrics import Metrics
from schemas.progress import ReadToken
from schemas.shard import ShardAnswer, ShardHit, ShardSearch, ShardState

RETRIEVED_MAX = 1_000
"""A shard returns no more."""
_SESSION_WAIT_MS = 100
"""A session that meets a replica behind the one it saw waits this long for it rather than go back in time."""


class Retrieved(msgspec.Struct, frozen=True):
    """What the shards know about a query: merged hits, and each shard's own answer."""

    hits: list[ShardHit]
    shards: Answers[ShardAnswer]

    @property
    def waited_ms(self) -> float:
        """How long the slowest shard waited for what had to be applied; no part of ``timeout_ms``."""
        return max([answer.waited_ms for answer in self.shards.answers], default=0.0)


class RankedSearch(msgspec.Struct, frozen=True):
    """What was retrieved, and the candidates as the stages of ranking ordered them: more than are shown."""

    retrieved: Retrieved
    outcome: Outcome
    cut: Cut
    asked: Asked
    searched_at: float
    """When the shards had answered, by the monotonic clock."""

    @property
    def plan(self) -> Plan:
        """How it was ranked."""
        return self.cut.plan

    @property
    def best(self) -> float | None:
        """The greatest similarity; None when nothing was found."""
        return self.retrieved.hits[0].similarity if self.retrieved.hits else None


@dataclass(slots=True)
class _Fresh:
    """Shards' states, the read token that stands for them, and how they are told."""

    states: list[ShardState] = field(default_factory=list)
    token: ReadToken = field(default_factory=ReadToken)
    encoded: str = field(default_factory=lambda: ReadToken().encode())
    shards: list[answers.ShardFreshness] = field(default_factory=list)


async def _undeclared(tenant: str) -> Mapping[str, str]:  # noqa: ARG001
    return {}


@dataclass(frozen=True, slots=True)
class Searcher:
    """Answers searches; one per process."""

    lane: Lane
    cluster: Cluster
    vectors: QueryVectors
    scatter: Scatter
    thresholds: Thresholds
    sessions: SessionTokens
    ranker: Ranker
    extras: Extras
    feedback: FeedbackOut
    metrics: Metrics
    clock: Clock
    attribute_types: Callable[[str], Awaitable[Mapping[str, str]]] = _undeclared
    pressure: Pressure = field(default_factory=lambda: Pressure(TARGET_MS))
    budgets: Budgets = Budgets()  # noqa: RUF009  # frozen
    last_fresh: _Fresh = field(default_factory=_Fresh)
    blocked: BlockList | None = None
    """Products whose first picture is on it are not found."""

    async def search(self, caller: Caller, query: Query) -> answers.SearchAnswer:
        """The answer to a checked query.

        Raises:
            FreshnessUnmet: ``require`` was set and could not be had within ``wait_ms``.
            DeadlineExceeded: ``timeout_ms`` is used up before the shards could be asked.
            ShardUnavailable: not one shard answered, or not all of them and ``partial`` is ``forbid``.
                Others as :meth:`QueryVectors.resolve`.
        """
        began = self.clock.monotonic()
        turn = self.pressure.begin(began)
        try:
            return await self._searched(caller, query, began, turn.step)
        finally:
            self.pressure.end(turn, self.clock.monotonic())

    async def _searched(self, caller: Caller, query: Query, started: float, step: Step) -> answers.SearchAnswer:
        if query.filter is not None:
            fields.check_declared(query.filter, await self.attribute_types(caller.tenant))
        needed, wait_ms = Requirement(), 0
        if query.token.positions or query.session:
            needed, wait_ms = await self._freshness(caller, query)
        waited = self.clock.monotonic()
        found = await self.vectors.resolve(
            query,
            caller.tenant,
            timeout_s=query.timeout_ms / 1000,
            min_applied=needed.min_applied,
            wait_ms=wait_ms,
        )
        resolved = self.clock.monotonic()
        wait_ms, total_ms = max(0, wait_ms - int(found.waited_ms)), query.timeout_ms + found.waited_ms

        def left_ms() -> float:
            return total_ms - (self.clock.monotonic() - waited) * 1000

        if (left := total_ms - (resolved - waited) * 1000) <= 0:
            raise DeadlineExceeded(f"the query's vector alone took longer than timeout_ms={query.timeout_ms}")
        ranked = await self.ranked(
            caller, query, found, needed=needed, wait_ms=wait_ms, left_ms=left_ms, step=self.step(step, left)
        )
        total_ms += ranked.retrieved.waited_ms
        is_met = _is_met(query, needed, ranked.retrieved.shards, is_fresh=found.is_fresh)
        nearest = ranked.outcome.pool[: query.k]
        shown = [] if self.is_no_match(query, found, ranked) else nearest
        regions = await region_search.searched(self, caller, query, step, left_ms=left_ms) if query.regions else UNSET
        done = self.clock.monotonic()
        timings_ms = {
            "wait": round((waited - started) * 1000, 3),
            # All until the vector was there, the encoder's own share beside it.
            "encode": round((resolved - waited) * 1000, 3),
            "search": round((ranked.searched_at - resolved) * 1000, 3),
            "rank": round((done - ranked.searched_at) * 1000, 3),
            "total": round((done - started) * 1000, 3),
            **ranked.outcome.timings_ms,
        }
        for name, value in found.timings_ms.items():
            timings_ms[f"encoder_{name}"] = round(value, 3)
        answer = self._answer(caller, query, ranked, shown, is_met, timings_ms)
        if found.flags or regions is not UNSET or _is_limited(query, shown):
            answer = structs.replace(
                answer,
                warnings=[*picture_gate.warnings_of(found.flags), *answer.warnings],
                limited_matches=answers.results_of(nearest, caller.tenant) if _is_limited(query, shown) else UNSET,
                regions=regions,
            )
        self._tell(caller, query, found, answer, self.ranker.features_of(shown, ranked.asked, ranked.best or 0.0))
        return answer

    async def ranked(
        self,
        caller: Caller,
        query: Query,
        found: QueryVector,
        *,
        left_ms: Callable[[], float],
        needed: Requirement | None = None,
        wait_ms: int = 0,
        step: Step = Step.NONE,
    ) -> RankedSearch:
        """Retrieve what ranking needs, and rank it; raises as :meth:`retrieve`.

        Args:
            step: how much to leave out so that it is done in time.
        """
        now_us = self.clock.now_us()
        cut = deadlines.cut(
            self.ranker.plan(caller.tenant, query, now_us),
            step,
            left_ms=left_ms(),
            is_exact=query.exact,
            may_be_partial=self.lane.layout.shards > 1 and not query.forbids_partial,
            budgets=self.budgets,
        )
        plan, timeout_ms = cut.plan, cut.retrieve_ms
        retrieving = self.retrieve(
            caller, query, found, needed=needed, wait_ms=wait_ms, timeout_ms=timeout_ms, k=plan.retrieved, cut=cut
        )
        if plan.needs_more:
            fetching = self.extras.fetch(plan, caller.tenant, query, now_us=now_us, timeout_ms=timeout_ms)
            retrieved, extra = await asyncio.gather(retrieving, fetching)
        else:
            retrieved, extra = await retrieving, Extra()
        asked = asked_of(
            query,
            tenant=caller.tenant,
            now_us=now_us,
            settings=self.ranker.settings,
            vector=found.vector,
            profile=extra.profile,
            threshold=self.thresholds.of(query.modality, found.vector),
            reference=extra.reference,
        )

        def still_ms() -> float:  # what the caller was ready to wait for a token is not taken off
            return left_ms() + retrieved.waited_ms

        pinned = await self._pinned(caller, plan, found, retrieved, still_ms()) if plan.pins else []
        searched_at = self.clock.monotonic()
        outcome = await self.ranker.rank(
            plan,
            retrieved.hits + pinned,
            asked,
            left_ms=still_ms,
            skip=cut.skip,
        )
        for each in cut.steps:
            self.metrics.count("freshlens_degraded_total", step=each.name.lower())
        return RankedSearch(retrieved, outcome, cut, asked, searched_at)

    async def _pinned(
        self, caller: Caller, plan: Plan, found: QueryVector, retrieved: Retrieved, left_ms: float
    ) -> list[ShardHit]:
        pinned = await self.extras.pinned(
            plan,
            caller.tenant,
            found.vector,
            known={hit.product_id for hit in retrieved.hits} | found.exclude,
            retrieved=retrieved.shards,
            left_ms=left_ms - self.budgets.format,
        )
        return self._allowed(caller.tenant, pinned)

    def step(self, by_pressure: Step, left_ms: float) -> Step:
        """How much a search has to leave out: as its turn says, or more where its time is short."""
        return max(by_pressure, deadlines.step_by_time(left_ms, self.budgets))

    def is_no_match(self, query: Query, found: QueryVector, ranked: RankedSearch) -> bool:
        """Whether nothing that was found is like what was asked for."""
        return shows_nothing(query, found) or self.thresholds.rejects(query.modality, ranked.best, found.vector)

    async def retrieve(
        self,
        caller: Caller,
        query: Query,
        found: QueryVector,
        *,
        k: int,
        timeout_ms: int,
        needed: Requirement | None = None,
        wait_ms: int = 0,
        exact: bool | None = None,
        collapse: bool | None = None,
        cut: Cut | None = None,
    ) -> Retrieved:
        """The k best hits of all shards; raises QueryError and ShardUnavailable.

        ``exact`` and ``collapse`` are as the query says, unless given; a ``cut`` plan says what ranking needs.
        """
        plan = cut.plan if cut else None
        is_collapsed = (plan.collapse if plan else query.collapse) if collapse is None else collapse
        if self.blocked is not None:
            await self.blocked.refresh_if_due()
        # One more where the product that was asked about will be taken out.
        wanted = min(k + len(found.exclude), RETRIEVED_MAX)
        request = ShardSearch(
            lane=self.lane.name,
            layout_id=self.lane.layout.layout_id,
            tenant=caller.tenant,
            vector=None if found.vector is None else found.vector.tobytes(),
            k=wanted,
            filter=plan.filter if plan else query.filter,
            min_applied=needed.min_applied if needed else {},
            wait_ms=wait_ms,
            timeout_ms=timeout_ms,
            exact=query.exact if exact is None else exact,
            collapse=is_collapsed,
            with_vectors=plan is not None and plan.with_vectors,
            facets=query.facets,
            preferred=tuple(fields.fields_of(query.ranking.prefer)),
            effort=cut.effort if cut else 1.0,
            in_company=query.in_company,
        )
        while True:
            shards = await self.scatter.search(request, patience_ms=cut.patience_ms if cut else None)
            if (request.filter is not None or request.preferred) and not shards.is_partial:
                fields.check_known(request, shards.answers, await self.attribute_types(caller.tenant))
            lists = [answer.hits for answer in shards.answers]
            best = merging.best(lists, request.k, by_similarity=found.vector is not None, collapse=is_collapsed)
            hits = self._allowed(caller.tenant, best, found.exclude)[:k]
            if len(hits) == k or len(best) < request.k or request.k == RETRIEVED_MAX:
                return Retrieved(hits, shards)
            # Blocked ones took the places of others that match.
            request = structs.replace(request, k=min(4 * request.k, RETRIEVED_MAX))

    def _allowed(self, tenant: str, hits: Sequence[ShardHit], exclude: Collection[str] = ()) -> list[ShardHit]:
        if not exclude and (self.blocked is None or self.blocked.is_empty(tenant)):
            return list(hits)
        return [hit for hit in hits if hit.product_id not in exclude and not self.is_blocked(tenant, hit.dup_group)]

    def is_blocked(self, tenant: str, group: bytes) -> bool:
        """Whether a product's picture is blocked.

        Args:
            group: the perceptual hash of its first picture; of a product without a picture it is longer.
        """
        return self.blocked is not None and len(group) == PHASH_BYTES and bool(self.blocked.match(tenant, group))

    async def _freshness(self, caller: Caller, query: Query) -> tuple[Requirement, int]:
        """What must be applied, and how many milliseconds are left to wait for it in the node."""
        seen = self.sessions.last(caller.tenant, query.session)
        if not query.token.positions and not seen.positions:
            return Requirement(), 0
        started = self.clock.monotonic()
        needed = await self.cluster.requirement_within(query.token, query.wait_ms)
        left_ms = max(0, query.wait_ms - int((self.clock.monotonic() - started) * 1000))
        if not needed.is_covered and query.require:
            raise FreshnessUnmet("the events up to min_offset are not processed yet; wait longer with wait_ms")
        if not seen.positions:
            return needed, left_ms
        known = ReadToken(tuple(p for p in seen.positions if self.cluster.logs.get(p.topic) in (None, p.log_id)))
        monotonic = self.cluster.requirement(known)
        return _both(needed, monotonic), max(left_ms, _SESSION_WAIT_MS)

    def _freshness_of(self, states: list[ShardState]) -> "_Fresh":
        """What an answer says of the states it was made of: the same until a shard has applied something more."""
        if self.last_fresh.states != states:
            token = answer_token(states)
            self.last_fresh.states, self.last_fresh.token = states, token
            self.last_fresh.encoded, self.last_fresh.shards = token.encode(), answers.freshness_of(states)
        return self.last_fresh

    def _answer(
        self,
        caller: Caller,
        query: Query,
        ranked: RankedSearch,
        shown: Sequence[Ranked],
        is_met: bool,
        timings_ms: dict[str, float],
    ) -> answers.SearchAnswer:
        shards, explain = ranked.retrieved.shards, query.ranking.explain
        fresh = self._freshness_of([answer.state for answer in shards.answers])
        self.sessions.remember(caller.tenant, query.session, fresh.token)
        return answers.SearchAnswer(
            query_id=os.urandom(16).hex(),
            results=answers.results_of(shown, caller.tenant, explain=explain),
            no_match=not shown and not shards.is_partial,
            total_candidates=sum([answer.total_candidates for answer in shards.answers]),
            freshness_met=is_met and not (query.token.positions and shards.is_partial),
            read_token=fresh.encoded,
            freshness=fresh.shards,
            shards=answers.ShardCount(shards.answered, shards.total),
            timings_ms=timings_ms,
            warnings=[*_warnings(shards, is_met), *ranked.cut.warnings, *ranked.outcome.warnings],
            ranking=_ranking(ranked) if explain else UNSET,
            facets=facets.merged([each.facets for each in shards.answers], query.facets, is_partial=shards.is_partial)
            if query.facets
            else UNSET,
        )

    def _tell(
        self,
        caller: Caller,
        query: Query,
        found: QueryVector,
        answer: answers.SearchAnswer,
        features: list[list[float]],
    ) -> None:
        seconds = {stage: milliseconds / 1000 for stage, milliseconds in answer.timings_ms.items()}
        self.metrics.observe_each("freshlens_search_stage_seconds", "stage", seconds)
        for warning in answer.warnings:
            self.metrics.count("freshlens_search_warnings_total", warning=warning.partition(":")[0])
        if answer.no_match:
            self.metrics.count("freshlens_no_match_total")
        self.feedback.searched(
            Search(
                query_id=answer.query_id,
                tenant=caller.tenant,
                searched_at=self.clock.now_us(),
                modality=query.modality,
                k=query.k,
                shown=_shown(answer.results, features),
                feature_names=FEATURES if features else None,
                no_match=answer.no_match,
                space=self.lane.space.name,
                freshness_met=answer.freshness_met,
                timings_ms=answer.timings_ms,
                text=query.text,
                product_id=query.product_id,
                filter=query.filter_json,
                embedding=None if found.vector is None else to_fp16(found.vector),
                session=query.session,
            )
        )


def _shown(results: Sequence[answers.Result], features: list[list[float]]) -> tuple[Shown, ...]:
    if not features:
        return tuple([Shown(each.product_id, each.position, each.score) for each in results])
    return tuple(
        [
            Shown(each.product_id, each.position, each.score, features=tuple(row))
            for each, row in zip(results, features, strict=True)
        ]
    )


def _ranking(ranked: RankedSearch) -> answers.RankingFacts:
    options = ranked.asked.options
    return answers.RankingFacts(
        weights=options.weights._asdict(),
        diversity=options.diversity,
        rules_version=ranked.plan.rule_set.version,
        retrieved=len(ranked.retrieved.hits),
    )


def _is_met(query: Query, needed: Requirement, shards: Answers[ShardAnswer], *, is_fresh: bool) -> bool:
    """Whether the answer is as fresh as asked; raises FreshnessUnmet, ShardUnavailable where it must not be less."""
    is_met = needed.is_covered and is_fresh
    for answer in shards.answers:
        is_met = is_met and answer.freshness_met
    if query.require and (not is_met or shards.is_partial):
        raise FreshnessUnmet("the index has not reached min_offset; wait longer with wait_ms, or do not require it")
    if query.forbids_partial and shards.is_partial:
        raise ShardUnavailable(f"{shards.answered} of {shards.total} shards answered, and partial is forbidden")
    return is_met


def shows_nothing(query: Query, found: QueryVector) -> bool:
    """Whether a search is by pictures alone, and none of them shows anything."""
    return (
        bool(found.flags)
        and picture_gate.is_hopeless(found.flags)
        and all(part.kind == "image" for part in query.parts)
    )


def _is_limited(query: Query, shown: Sequence[Ranked]) -> bool:
    return query.limited_matches and not shown


def _both(one: Requirement, other: Requirement) -> Requirement:
    needed = dict(one.min_applied)
    for partition, offset in other.min_applied.items():
        needed[partition] = max(needed.get(partition, 0), offset)
    return Requirement(needed, one.is_covered)


def _warnings(shards: Answers[ShardAnswer], is_met: bool) -> list[str]:
    warnings: list[str] = []
    stale: list[str] = []
    for answer in shards.answers:
        warnings += answer.warnings
        if answer.state.stale:
            stale.append(f"stale: shard {answer.state.shard} is {answer.state.lag_ms} ms behind")
    if shards.is_partial:
        warnings.append(f"partial: {shards.answered} of {shards.total} shards answered")
    if not is_met:
        warnings.append("freshness-unmet: the answer is older than asked for")
    return warnings + stale
