"""What the API knows of the rest: nodes, facts and logs. Lives in the event loop; a thread feeds it from Kafka."""

import asyncio
from collections.abc import Sequence

from query_api.shards.freshness import FactIndex, Requirement, requirement
from query_api.shards.node_routes import NodeRoutes
from schemas.clock import Clock
from schemas.lane import Lane
from schemas.node_status import NodeStatus
from schemas.progress import ProgressFact, ReadToken


class Cluster:
    """The newest state, and a way to wait until it changes."""

    def __init__(self, lane: Lane, clock: Clock, *, node_age_max_s: float) -> None:
        self.lane = lane
        self.routes = NodeRoutes(lane, age_max_s=node_age_max_s)
        self.facts = FactIndex()
        self.logs: dict[str, str] = {}
        """Topic → identity of its log, as far as known."""
        self._clock = clock
        self._changed = asyncio.Event()

    def learn(
        self,
        *,
        statuses: Sequence[NodeStatus] = (),
        earlier: Sequence[NodeStatus] = (),
        facts: Sequence[ProgressFact] = (),
        gone: Sequence[str] = (),
    ) -> None:
        """Take in what came from Kafka, and wake everybody who waits.

        Args:
            earlier: statuses that were there before anybody listened here, see :class:`node_routes.KnownNode`.
        """
        now = self._clock.monotonic()
        for status in earlier:
            self.routes.report(status, None)
        for status in statuses:
            self.routes.report(status, now)
        for node_id in gone:
            self.routes.forget(node_id)
        for fact in facts:
            if fact.lane == self.lane.name:
                self.facts.add(fact)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def learn_logs(self, logs: dict[str, str]) -> None:
        """Take in the identities of topics' logs."""
        self.logs.update(logs)

    def next_change(self) -> asyncio.Event:
        """Set at the next news. Take it before you look, and nothing that comes while you look is missed."""
        return self._changed

    def requirement(self, token: ReadToken) -> Requirement:
        """What an answer must have applied, as far as facts say now; raises as :func:`freshness.requirement`."""
        if not token.positions:
            return Requirement()
        applied = self.routes.applied()
        return requirement(token, self.facts, lane=self.lane, logs=self.logs, applied=applied)

    async def requirement_within(self, token: ReadToken, wait_ms: float) -> Requirement:
        """As :meth:`requirement`, waiting for the facts that cover the token."""
        found = self.requirement(token)
        try:
            async with asyncio.timeout(wait_ms / 1000):
                while not found.is_covered:
                    await self._changed.wait()
                    found = self.requirement(token)
        except TimeoutError:
            pass
        return found

    def now(self) -> float:
        """Our monotonic time in seconds, by which nodes are aged."""
        return self._clock.monotonic()


async def within(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait for the event; False when the time is up."""
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False
