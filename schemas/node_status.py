"""What a node says of itself on node-status, from which routers learn where shards are served."""

import msgspec


class NodeStatus(msgspec.Struct, frozen=True):
    """One node's report; ``applied`` maps index-log partitions, as decimal strings, to next offsets."""

    node_id: str
    url: str
    shard: int
    replica: int
    layout_id: str
    lane: str
    space: str
    log_id: str
    state: str
    generation: int
    applied: dict[str, int]
    products: int
    delta_rows: int
    reported_at: int
    """Microseconds since 1970, by the node's clock."""
    masked: dict[str, int] = {}
    """As ``applied``, of deletions and offers: beyond it while the delta is full and content is withheld."""
    digests: dict[str, str] = {}
    """Partition → ``offset:live:tombstones`` at the last offset that is a multiple of 10,000: equal on replicas."""
