"""Deleting what a dump no longer has: decided from the index's own state, published as ordinary deletes (HOLES 27)."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from freshlens.backfill.dump import Dump
from freshlens.backfill.job import Job
from freshlens.backfill.rows import Slice
from freshlens.backfill.slices import product_ids
from freshlens.publishing import Following, Sender
from index_nodes.replicas.log import KafkaLog
from index_nodes.replicas.time_travel import view_as_of
from schemas.errors import FreshlensError, SettingsError
from schemas.events import ProductDeleted
from schemas.lane import Lane
from streams.settings import StreamsSettings
from topics.clients import DELIVERED_WITHIN_S
from topics.publisher import Publisher
from topics.settings import KafkaSettings
from topics.store import ObjectStore, open_store


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be deleted, of how many products; ``newer`` are absent from the dump, and changed after it."""

    delete: tuple[str, ...]
    visible: int
    newer: int

    @property
    def share(self) -> float:
        """Of all products that can be found now."""
        return len(self.delete) / self.visible if self.visible else 0.0

    def check(self, share_max: float) -> None:
        """Do nothing if it may be carried out; raises SettingsError."""
        if self.share > share_max:
            raise SettingsError(
                f"--reconcile would delete {len(self.delete):,} of {self.visible:,} products ({self.share:.0%}): more "
                f"than {share_max:.0%}. If the dump is whole, say so with --allow {min(100, int(self.share * 100) + 1)}"
            )


def plan_of(job: Job, slices: Iterable[Slice]) -> Plan:
    """The plan of a load that is through; raises SettingsError if a row does not tell its product."""
    assert job.date.as_of is not None, "the deletes need a version"
    settings = job.settings
    # A dump that is loaded by popularity is cut into several slices with the same rows.
    whole = {(each.file, each.start): each for each in slices}
    indexed = indexed_products(settings.lane, settings.kafka, open_store(settings.store, job.environ), job.tenant)
    return plan(indexed, DumpProducts(products_of(job.dump, whole.values())), job.date.as_of)


def plan(indexed: Iterable[tuple[str, int]], in_dump: Container[str], as_of: int) -> Plan:
    """Which products go: those that the dump has not, and that did not change after it. Pure.

    Args:
        indexed: (product_id, greatest version of content or offer) of every product that can be found.
        in_dump: the dump's products.
        as_of: the dump's version.
    """
    delete, visible, newer = [], 0, 0
    for product_id, version in indexed:
        visible += 1
        if product_id in in_dump:
            continue
        if version > as_of:
            newer += 1
        else:
            delete.append(product_id)
    return Plan(tuple(delete), visible, newer)


class DumpProducts:
    """The products of a dump in 8 bytes each; of two products with one hash none is deleted that should stay."""

    def __init__(self, product_ids: Iterable[str]) -> None:
        self._hashes = np.unique(np.fromiter((_hash(each) for each in product_ids), dtype=np.uint64))

    def __contains__(self, product_id: object) -> bool:
        assert isinstance(product_id, str), product_id
        wanted = np.uint64(_hash(product_id))
        place = int(np.searchsorted(self._hashes, wanted))
        return place < len(self._hashes) and bool(self._hashes[place] == wanted)


def products_of(dump: Dump, slices: Iterable[Slice]) -> Iterator[str]:
    """All products of a dump.

    Raises:
        SettingsError: a row does not tell which product it is, so that its product might be deleted by mistake.
    """
    for each in slices:
        for product_id in product_ids(dump, each):
            if product_id is None:
                raise SettingsError(
                    f"--reconcile: a row of {dump.files[each.file].name} does not tell its product_id; repair the dump "
                    "first, or its product would be deleted"
                )
            yield product_id


def indexed_products(lane: Lane, kafka: KafkaSettings, store: ObjectStore, tenant: str) -> Iterator[tuple[str, int]]:
    """(product_id, greatest version) of every product of a tenant that can be found, as of the end of the log now."""
    log = KafkaLog(kafka)
    ends = log.bounds().end
    for shard in range(lane.layout.shards):
        view = view_as_of(ends, log=log, store=store, lane=lane, shard=shard)
        for slot in view.select(tenant, None).slots.rows.tolist():
            yield view.keys.raw(slot).decode().partition("/")[2], view.state(slot).version


def carry_out(plan: Plan, tenant: str, as_of: int, reason: str, settings: StreamsSettings) -> None:
    """Publish the deletes with the dump's version, and wait until the broker has them.

    Raises:
        FreshlensError: one could not be published; run it again.
    """
    publisher = Publisher(settings.kafka)
    sender = Sender(publisher, Following())
    try:
        for product_id in plan.delete:
            sender.send(product_id, ProductDeleted(tenant, product_id, as_of, reason))
    finally:
        publisher.close(DELIVERED_WITHIN_S)
    if sender.failed:
        raise FreshlensError(f"{len(sender.failed)} deletes were not published: {sender.failed[0].rejected}")


def _hash(product_id: str) -> int:
    return int.from_bytes(blake2b(product_id.encode(), digest_size=8).digest(), "little")
