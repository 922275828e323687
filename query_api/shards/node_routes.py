"""Which node serves which shard, from what nodes say on node-status. Pure: the caller says what time it is."""

from dataclasses import dataclass

from schemas.lane import Lane
from schemas.node_status import NodeStatus

_RANKS = {"serving": 0, "catching-up": 1, "draining": 2}
"""States in which a node answers, the better first."""


@dataclass(slots=True)
class KnownNode:
    """A node's newest report; ``heard_at`` by our own monotonic clock, since nobody else's can be trusted.

    None: it was there before we began to listen. Its node may be gone, or start anew.
    """

    status: NodeStatus
    heard_at: float | None
    has_failed: bool = False
    """It did not answer since that report."""


class NodeRoutes:
    """The newest report of every node of one lane and layout."""

    def __init__(self, lane: Lane, *, age_max_s: float) -> None:
        self._lane = lane
        self._age_max_s = age_max_s
        self._nodes: dict[str, KnownNode] = {}

    def report(self, status: NodeStatus, heard_at: float | None) -> None:
        """Take a report in, see :class:`KnownNode`; a node of another lane, layout or space is none of ours."""
        known = self._nodes.get(status.node_id)
        if heard_at is None and known is not None and known.heard_at is not None:
            return  # it said something else since
        lane = self._lane
        if (status.lane, status.layout_id) != (lane.name, lane.layout.layout_id) or status.space not in (
            lane.space.name,
            str(lane.space),
        ):
            self._nodes.pop(status.node_id, None)
            return
        self._nodes[status.node_id] = KnownNode(status, heard_at)

    def forget(self, node_id: str) -> None:
        """A node that is gone for good says so by a tombstone."""
        self._nodes.pop(node_id, None)

    def failed(self, node_id: str) -> bool:
        """The node did not answer: ask the others first until it reports again. Whether that is news."""
        node = self._nodes.get(node_id)
        if node is None or node.has_failed:
            return False
        node.has_failed = True
        return True

    def of_shard(self, shard: int, now: float) -> list[NodeStatus]:
        """The nodes to ask for a shard, in that order.

        One that failed or has gone silent comes last and stays: while Kafka is down nobody is heard, and all serve.
        """
        able = [node for node in self._nodes.values() if node.status.shard == shard and node.status.state in _RANKS]
        able.sort(key=lambda node: self._rank(node, now))
        return [node.status for node in able]

    def nodes(self) -> list[KnownNode]:
        """Every node of the lane, by shard and replica."""
        return sorted(self._nodes.values(), key=lambda node: (node.status.shard, node.status.replica))

    def is_serving(self, shard: int, now: float) -> bool:
        """Whether a node that has been heard of lately serves the shard."""
        return any(
            node.status.shard == shard and node.status.state == "serving" and not self._is_silent(node, now)
            for node in self._nodes.values()
        )

    def applied(self) -> dict[int, int]:
        """The greatest next offset reported by any node, by index-log partition."""
        greatest: dict[int, int] = {}
        for node in self._nodes.values():
            for partition, offset in node.status.applied.items():
                greatest[int(partition)] = max(greatest.get(int(partition), 0), offset)
        return greatest

    def products(self) -> int:
        """Products that can be found, over all shards."""
        by_shard: dict[int, int] = {}
        for node in self._nodes.values():
            by_shard[node.status.shard] = max(by_shard.get(node.status.shard, 0), node.status.products)
        return sum(by_shard.values())

    def _rank(self, node: KnownNode, now: float) -> tuple[bool, bool, int, int]:
        status = node.status
        return node.has_failed, self._is_silent(node, now), _RANKS[status.state], status.replica

    def _is_silent(self, node: KnownNode, now: float) -> bool:
        return node.heard_at is None or now - node.heard_at > self._age_max_s
