"""A replica as a node restores it, over whatever log and store a test has."""

from index_nodes.generations.heads import Head, newest_head
from index_nodes.replicas.applier import ROWS_MAX
from index_nodes.replicas.log import IndexLog
from index_nodes.replicas.replica import Replica, restore
from index_nodes.rows.graph import InlineBuilder
from index_nodes.rows.tail import BLOCK_ROWS
from schemas.lane import Lane
from schemas.metrics import Metrics, NullMetrics
from topics.store import ObjectStore


def restored(
    log: IndexLog,
    store: ObjectStore,
    lane: Lane,
    *,
    head: Head | None = None,
    metrics: Metrics | None = None,
    block_rows: int = BLOCK_ROWS,
    rows_max: int = ROWS_MAX,
) -> Replica:
    """As at a start, a swap and a rollback: the head, or the newest, and the log up to its end."""
    return restore(
        head or newest_head(store, lane, 0),
        log.bounds().end,
        log=log,
        store=store,
        lane=lane,
        shard=0,
        builder=InlineBuilder(),
        metrics=metrics or NullMetrics(),
        block_rows=block_rows,
        rows_max=rows_max,
    )
