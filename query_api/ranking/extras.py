"""What ranking asks the shards for beside the candidates: pinned products, and vectors of what a session clicked on."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

import msgspec
import structlog

from query_api.query.request import Query
from query_api.ranking.ranker import Plan
from query_api.ranking.sessions import SessionProfiles
from query_api.shards.scatter import Answers, Scatter
from schemas.embeddings import Vector, from_fp16
from schemas.errors import TransientError
from schemas.filters import And, AnyOf
from schemas.lane import Lane
from schemas.shard import ShardAnswer, ShardHit, ShardLookup, ShardProduct, ShardSearch

log = structlog.get_logger()


_PINS_WAIT_MS = 50
"""So long a replica behind the one that answered the search is waited for, and any shard once the time is up."""


class Extra(msgspec.Struct, frozen=True):
    """What was fetched beside the candidates.

    Attributes:
        profile: (dim,) float32, what the session clicked on.
        reference: content hash of the picture of the product that was asked about.
    """

    profile: Vector | None = None
    reference: bytes | None = None


@dataclass(frozen=True, slots=True)
class Extras:
    """Fetches them; a shard that does not answer costs the extra, never the search."""

    lane: Lane
    scatter: Scatter
    profiles: SessionProfiles

    async def fetch(self, plan: Plan, tenant: str, query: Query, *, now_us: int, timeout_ms: int) -> Extra:
        """What the plan needs beside the candidates, at the same time as these are retrieved, and in no more time."""
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                reference, _ = await asyncio.gather(
                    self._reference(plan, tenant, query.product_id),
                    self._learn(plan, tenant, query.session),
                )
        except TimeoutError:
            log.warning("not looked up in time", tenant=tenant)
            reference = None
        profile = self.profiles.profile(tenant, query.session, now_us) if plan.is_personal else None
        return Extra(profile, reference)

    async def _reference(self, plan: Plan, tenant: str, product_id: str | None) -> bytes | None:
        if not plan.may_verify or product_id is None:
            return None
        found = await self._looked_up(tenant, (product_id,))
        hit = found[product_id].hit if found and product_id in found else None
        return hit.content_hash if hit else None

    async def pinned(
        self,
        plan: Plan,
        tenant: str,
        vector: Vector | None,
        *,
        known: Collection[str],
        retrieved: Answers[ShardAnswer],
        left_ms: float,
    ) -> list[ShardHit]:
        """Pinned products that were not retrieved and may be shown, by id.

        Found by an ordinary search with the search's own filter: what is dead or does not pass cannot come back. Nor
        what was deleted a moment ago: they come from views no older than those that gave the candidates.

        Args:
            known: products that are not wanted: there already, or asked about.
            retrieved: what gave the candidates; a shard that did not answer then is hardly waited for now.
            left_ms: of the search's time.
        """
        wanted = tuple(product_id for product_id in plan.pins if product_id not in known)
        if not wanted:
            return []
        named = AnyOf("product_id", wanted)
        request = ShardSearch(
            lane=self.lane.name,
            layout_id=self.lane.layout.layout_id,
            tenant=tenant,
            vector=None if vector is None else vector.tobytes(),
            k=len(wanted),
            filter=named if plan.filter is None else And((plan.filter, named)),
            min_applied={
                partition: offset for answer in retrieved.answers for partition, offset in answer.state.applied.items()
            },
            wait_ms=_PINS_WAIT_MS,
            timeout_ms=max(_PINS_WAIT_MS, int(left_ms)),
            with_vectors=plan.with_vectors,
        )
        patience_ms = _PINS_WAIT_MS if retrieved.is_partial else None
        try:
            answers = (await self.scatter.search(request, patience_ms=patience_ms)).answers
        except TransientError as error:
            log.warning("pins not fetched", tenant=tenant, code=error.code, error=error.message)
            return []
        hits = [hit for answer in answers if answer.freshness_met for hit in answer.hits]
        return sorted(hits, key=lambda hit: hit.product_id)

    async def _learn(self, plan: Plan, tenant: str, session: str | None) -> None:
        unknown = self.profiles.unknown(tenant, session) if plan.is_personal else ()
        if not unknown:
            return
        known = await self._looked_up(tenant, unknown, with_vectors=True)
        if known is None:  # they are asked for again
            return
        dim = self.lane.space.dim
        vectors = {
            name: from_fp16(known[name].vectors[0], dim) if name in known and known[name].vectors else None
            for name in unknown
        }
        self.profiles.learn(tenant, session, vectors)

    async def _looked_up(
        self, tenant: str, product_ids: tuple[str, ...], *, with_vectors: bool = False
    ) -> dict[str, ShardProduct] | None:
        """Products by id; None when a shard that may hold one does not answer."""
        request = ShardLookup(
            lane=self.lane.name,
            layout_id=self.lane.layout.layout_id,
            tenant=tenant,
            product_ids=product_ids,
            with_vectors=with_vectors,
        )
        try:
            found = await self.scatter.lookup(request)
        except TransientError as error:
            log.warning("not looked up", tenant=tenant, code=error.code, error=error.message)
            return None
        if found.is_partial:
            return None
        return {product.product_id: product for answer in found.answers for product in answer.products}
