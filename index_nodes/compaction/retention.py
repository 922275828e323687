"""What of the past may go: heads, builds, and the log below them (HOLES 1, 16, 17). The decision is pure.

A head goes in one round, its build and its part of the log in the next, so that whoever read the head a moment ago, to
roll back to it, can still do so.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from index_nodes.compaction.inventory import Inventory, Sibling, delete_build, made_at_us, read_inventory
from index_nodes.compaction.report import delete_old_reports
from index_nodes.generations.heads import Head, head_key, rejection_key
from index_nodes.generations.manifest import builds_prefix
from index_nodes.replicas.log import IndexLog
from index_nodes.settings import RetentionPolicy
from schemas.clock import Clock
from schemas.lane import Lane
from schemas.layout import LogId, NextOffset
from schemas.metrics import Metrics
from schemas.node_status import NodeStatus
from topics.store import ObjectStore

_log = structlog.get_logger()


class TruncatableLog(IndexLog, Protocol):
    """A log whose beginning can be removed."""

    def truncate(self, below: Mapping[int, NextOffset]) -> None:
        """Remove the records below these offsets, for ever.

        Raises:
            BrokerUnavailable. SettingsError: we may not; grant the right, or set FRESHLENS_TRUNCATE=0.
        """
        ...


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What may be removed now, in the order in which it is.

    Attributes:
        delete_heads: sequence numbers.
        delete_builds: builds that no head names, and rejected ones that others came after.
        delete_rejections: builds whose record says nothing any more.
        truncate_below: partition → the smallest next offset that any generation continues at, those whose heads go now
            included.
    """

    delete_heads: tuple[int, ...] = ()
    delete_builds: tuple[str, ...] = ()
    delete_rejections: tuple[str, ...] = ()
    truncate_below: Mapping[int, NextOffset] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.delete_heads or self.delete_builds or self.delete_rejections or self.truncate_below)


def plan_retention(
    inventory: Inventory,
    served: frozenset[int],
    lane: Lane,
    log_id: LogId,
    now_us: int,
    policy: RetentionPolicy,
) -> RetentionPlan:
    """What of one shard may go.

    Args:
        served: heads that a node reported of late, see :func:`served_heads`.
        log_id: of the log as it is now; offsets of another one truncate nothing.
    """
    kept = [head for head in inventory.heads if _is_kept(head, inventory.heads, served, now_us, policy)]
    return RetentionPlan(
        delete_heads=tuple(sorted({head.seq for head in inventory.heads} - {head.seq for head in kept})),
        delete_builds=tuple(_orphans(inventory, now_us, policy)),
        delete_rejections=tuple(_settled(inventory)),
        truncate_below=_floor(inventory, lane, str(log_id)) if policy.truncates else {},
    )


def served_heads(
    statuses: Iterable[NodeStatus], lane: Lane, shard: int, now_us: int, policy: RetentionPolicy
) -> frozenset[int]:
    """The heads that nodes of this shard said they serve, within the time that counts."""
    return frozenset(
        status.generation
        for status in statuses
        if (status.lane, status.layout_id, status.shard) == (lane.name, lane.layout.layout_id, shard)
        and status.reported_at >= now_us - policy.reported_us
    )


def collect(
    log: TruncatableLog,
    store: ObjectStore,
    lane: Lane,
    shard: int,
    statuses: Iterable[NodeStatus],
    policy: RetentionPolicy,
    metrics: Metrics,
    clock: Clock,
) -> RetentionPlan:
    """Plan and remove. Every effect can be the last: the next round goes on from what is there.

    Raises:
        ManifestCorrupt: what a head or record says is unknown, so nothing was removed.
        BrokerUnavailable, SettingsError: the log could not be reached, or not be truncated.
        StoreUnavailable: try again.
    """
    now_us, bounds = clock.now_us(), log.bounds()
    inventory = read_inventory(store, lane, shard)
    served = served_heads(statuses, lane, shard, now_us, policy)
    plan = plan_retention(inventory, served, lane, bounds.log_id, now_us, policy)
    for seq in plan.delete_heads:
        store.delete(head_key(lane, shard, seq))
    for build in plan.delete_builds:
        delete_build(store, shard, build)
        metrics.count("freshlens_builds_deleted_total")
    for build in plan.delete_rejections:
        store.delete(rejection_key(lane, shard, build))
    rejected = inventory.rejections.keys() - set(plan.delete_rejections)
    delete_old_reports(store, lane, shard, inventory.newest_seq - policy.reports + 1, rejected)
    below = {partition: offset for partition, offset in plan.truncate_below.items() if offset > bounds.begin[partition]}
    if below:
        log.truncate(below)
    if plan.delete_heads or plan.delete_builds or below:
        _log.info("retention", shard=shard, heads=plan.delete_heads, builds=plan.delete_builds, log_below=below)
    store.sweep(builds_prefix(shard), policy.unpublished_us / 1e6)  # last, since a bucket may refuse it
    return plan


def _is_kept(head: Head, heads: tuple[Head, ...], served: frozenset[int], now_us: int, policy: RetentionPolicy) -> bool:
    return (
        head in heads[-max(1, policy.generations) :]
        or head.created_at_us > now_us - policy.age_us
        or head.seq in served
    )


def _orphans(inventory: Inventory, now_us: int, policy: RetentionPolicy) -> Iterator[str]:
    """Builds that no head of any lane names, and nobody can be at work on or is to accept any more."""
    outdone = set(list(inventory.rejections)[: -policy.rejected])
    named = {head.build for head in inventory.heads} | {sibling.build for sibling in inventory.siblings}
    for build in sorted(inventory.files.keys() - named):
        begun_us = made_at_us(build)
        if build in outdone or (begun_us is not None and begun_us <= now_us - policy.unpublished_us):
            yield build


def _settled(inventory: Inventory) -> Iterator[str]:
    """Rejections of builds that are gone, once another generation was published after all."""
    for build, rejection in sorted(inventory.rejections.items()):
        if build not in inventory.files and rejection.parent_seq < inventory.newest_seq:
            yield build


def _floor(inventory: Inventory, lane: Lane, log_id: str) -> dict[int, NextOffset]:
    """By partition of this shard, where the earliest of all generations that may have to go on from there goes on."""
    siblings = [sibling for sibling in inventory.siblings if sibling.lane == lane.name]
    everyone: list[Head | Sibling] = [*inventory.heads, *siblings]
    if not inventory.heads or any(each.log_id != log_id for each in everyone):
        return {}
    return {
        int(partition): NextOffset(
            min(each.next_offsets[partition] for each in everyone if partition in each.next_offsets)
        )
        for partition in inventory.heads[-1].next_offsets
    }
