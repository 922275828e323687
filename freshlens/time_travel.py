"""What the index held at a past time, folded from the store and the log for this one question."""

from datetime import datetime

from index_nodes.replicas.log import KafkaLog
from index_nodes.replicas.time_travel import view_as_of
from index_nodes.views.search import product
from schemas.errors import NotFound
from schemas.identity import partition_of, product_key
from schemas.lane import Lane
from schemas.shard import ShardProduct
from topics.settings import KafkaSettings
from topics.store import ObjectStore


def product_as_of(
    lane: Lane, kafka: KafkaSettings, store: ObjectStore, tenant: str, product_id: str, when: datetime
) -> ShardProduct:
    """One product, dead or alive, as of a time by the broker's clock (local time where ``when`` names no zone).

    Raises:
        NotFound: the index knew nothing of it then. LogTruncated: before what is retained.
    """
    log = KafkaLog(kafka)
    key = product_key(tenant, product_id)
    shard = partition_of(key, lane.layout.partitions) % lane.layout.shards
    positions = log.offsets_at(int(when.timestamp() * 1000))
    found = product(
        view_as_of(positions, log=log, store=store, lane=lane, shard=shard), tenant, product_id, with_vectors=False
    )
    if found is None:
        raise NotFound(f"at {when.isoformat()} the index knew nothing of {key}")
    return found
