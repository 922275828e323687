"""The search pipeline: wait for freshness, find the vector, ask the shards, merge, rank, judge, answer, tell."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from query_api import answers, merging
from query_api.cluster import Cluster
from query_api.feedback_out import FeedbackOut
from query_api.freshness import Requirement, SessionTokens, answer_token
from query_api.identity import Caller
from query_api.no_match import Thresholds
from query_api.query_vector import QueryVector, QueryVectors
from query_api.rank import Ranked, rank
from query_api.scatter import Answers, Scatter
from query_api.search_request import Query
from schemas.clock import Clock
from schemas.embeddings import to_fp16
from schemas.errors import DeadlineExceeded, FreshnessUnmet
from schemas.feedback import Search, Shown
from schemas.lane import Lane
from schemas.metrics import Metrics
from schemas.progress import ReadToken
from schemas.shard import ShardAnswer, ShardHit, ShardSearch

RETRIEVED_MAX = 1_000
"""A shard returns no more."""
_SESSION_WAIT_MS = 100
"""A session that meets a replica behind the one it saw waits this long for it rather than go back in time."""


class Retrieved(NamedTuple):
    """What the shards know about a query: merged hits, and each shard's own answer."""

    hits: list[ShardHit]
    shards: Answers[ShardAnswer]


@dataclass(frozen=True, slots=True)
class Searcher:
    """Answers searches; one per process."""

    lane: Lane
    cluster: Cluster
    vectors: QueryVectors
    scatter: Scatter
    thresholds: Thresholds
    sessions: SessionTokens
    feedback: FeedbackOut
    metrics: Metrics
    clock: Clock

    async def search(self, caller: Caller, query: Query) -> answers.SearchAnswer:
        """The answer to a checked query.

        Raises:
            FreshnessUnmet: ``require`` was set and could not be had within ``wait_ms``.
            DeadlineExceeded: ``timeout_ms`` is used up before the shards could be asked.
            ShardUnavailable: not one shard answered. Others as :meth:`QueryVectors.resolve`.
        """
        started = self.clock.monotonic()
        needed, wait_ms = await self._freshness(caller, query)
        waited = self.clock.monotonic()
        found = await self.vectors.resolve(query, caller.tenant, timeout_s=query.timeout_ms / 1000)
        resolved = self.clock.monotonic()
        left_ms = query.timeout_ms - int((resolved - waited) * 1000)
        if left_ms <= 0:
            raise DeadlineExceeded(f"the query's vector alone took longer than timeout_ms={query.timeout_ms}")
        retrieved = await self.retrieve(
            caller, query, found, needed=needed, wait_ms=wait_ms, timeout_ms=left_ms, k=query.k
        )
        searched = self.clock.monotonic()
        is_met = needed.is_covered and all(answer.freshness_met for answer in retrieved.shards.answers)
        if query.require and (not is_met or retrieved.shards.is_partial):
            raise FreshnessUnmet("the index has not reached min_offset; wait longer with wait_ms, or do not require it")
        ranked = rank(retrieved.hits, query.k)
        rejected = self.thresholds.rejects(query.modality, ranked[0].hit.similarity if ranked else None)
        shown = [] if rejected else ranked
        done = self.clock.monotonic()
        timings = {
            "wait": waited - started,
            "resolve": resolved - waited,
            "search": searched - resolved,
            "rank": done - searched,
            "total": done - started,
        }
        answer = self._answer(caller, query, retrieved, shown, is_met, _rounded(timings, found.timings_ms))
        self._tell(caller, query, found, answer)
        return answer

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
    ) -> Retrieved:
        """The k best hits of all shards; raises QueryError and ShardUnavailable.

        ``exact`` and ``collapse`` are as the query says, unless given.
        """
        is_collapsed = query.collapse if collapse is None else collapse
        # One more where the product that was asked about will be taken out.
        wanted = min(k + (found.exclude is not None), RETRIEVED_MAX)
        request = ShardSearch(
            lane=self.lane.name,
            layout_id=self.lane.layout.layout_id,
            tenant=caller.tenant,
            vector=None if found.vector is None else found.vector.tobytes(),
            k=wanted,
            filter=query.filter,
            min_applied=needed.min_applied if needed else {},
            wait_ms=wait_ms,
            timeout_ms=timeout_ms,
            exact=query.exact if exact is None else exact,
            collapse=is_collapsed,
        )
        shards = await self.scatter.search(request)
        lists = [answer.hits for answer in shards.answers]
        hits = merging.best(lists, wanted, by_similarity=found.vector is not None, collapse=is_collapsed)
        if found.exclude is not None:
            hits = [hit for hit in hits if hit.product_id != found.exclude][:k]
        return Retrieved(hits, shards)

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

    def _answer(
        self,
        caller: Caller,
        query: Query,
        retrieved: Retrieved,
        shown: Sequence[Ranked],
        is_met: bool,
        timings_ms: dict[str, float],
    ) -> answers.SearchAnswer:
        shards = retrieved.shards
        states = [answer.state for answer in shards.answers]
        token = answer_token(states)
        self.sessions.remember(caller.tenant, query.session, token)
        return answers.SearchAnswer(
            query_id=secrets.token_hex(16),
            results=[answers.result_of(ranked, place, caller.tenant) for place, ranked in enumerate(shown, 1)],
            no_match=not shown and not shards.is_partial,
            total_candidates=sum(answer.total_candidates for answer in shards.answers),
            freshness_met=is_met and not (query.token.positions and shards.is_partial),
            read_token=token.encode(),
            freshness=answers.freshness_of(states),
            shards=answers.ShardCount(shards.answered, shards.total),
            timings_ms=timings_ms,
            warnings=_warnings(shards, is_met),
        )

    def _tell(self, caller: Caller, query: Query, found: QueryVector, answer: answers.SearchAnswer) -> None:
        for stage, milliseconds in answer.timings_ms.items():
            self.metrics.observe("freshlens_search_stage_seconds", milliseconds / 1000, stage=stage)
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
                shown=tuple(Shown(result.product_id, result.position, result.score) for result in answer.results),
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


def _both(one: Requirement, other: Requirement) -> Requirement:
    needed = dict(one.min_applied)
    for partition, offset in other.min_applied.items():
        needed[partition] = max(needed.get(partition, 0), offset)
    return Requirement(needed, one.is_covered)


def _warnings(shards: Answers[ShardAnswer], is_met: bool) -> list[str]:
    warnings = [warning for answer in shards.answers for warning in answer.warnings]
    if shards.is_partial:
        warnings.append(f"partial: {shards.answered} of {shards.total} shards answered")
    if not is_met:
        warnings.append("freshness-unmet: the answer is older than asked for")
    warnings += [
        f"stale: shard {answer.state.shard} is {answer.state.lag_ms} ms behind"
        for answer in shards.answers
        if answer.state.stale
    ]
    return warnings


def _rounded(seconds: dict[str, float], encoder_ms: dict[str, float]) -> dict[str, float]:
    """In milliseconds; ``encode`` is everything until the vector was there, with the encoder's own share beside it."""
    timings = {"encode" if name == "resolve" else name: value * 1000 for name, value in seconds.items()}
    timings.update({f"encoder_{name}": value for name, value in encoder_ms.items()})
    return {name: round(value, 3) for name, value in timings.items()}
