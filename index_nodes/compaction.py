"""One compaction: generation G and the log behind it become G + 1, verified, and published by a head.

Steps, each of which may be the last one: plan, build, verify, publish. Nothing that is served changes before the last,
and the last is one create-if-absent, so any number of compactors may race.
"""

import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from index_nodes import generation as generations
from index_nodes.build import Built, digest_of_generation, write_generation
from index_nodes.graph import NoGraphs
from index_nodes.heads import Head, head_numbers, newest_head, publish, read_head
from index_nodes.ivf import RECALL_FLOOR
from index_nodes.log import IndexLog, check_positions
from index_nodes.manifest import (
    FORMAT,
    MANIFEST,
    Manifest,
    build_key,
    check_files,
    checksum,
    file_facts,
    log_id_of,
    read_manifest,
)
from index_nodes.replica import Replica, restore
from index_nodes.states import GENERATION, GenerationEvent, GenerationState, advance
from index_nodes.view import IndexView
from schemas.errors import BuildRejected, FreshlensError, HeadExists
from schemas.lane import Lane
from schemas.metrics import Metrics, NullMetrics
from topics.store import ObjectStore

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What one compaction did. ``head`` None: there was nothing new in the log."""

    shard: int
    head: Head | None
    manifest: Manifest | None
    records: int
    seconds: float

    @property
    def summary(self) -> str:
        """One line for people."""
        if self.head is None or self.manifest is None:
            return f"shard {self.shard}: nothing new in index-log"
        made, index = self.manifest, self.manifest.index
        how = (
            f"recall@10 {index.recall_at_10:.3f} at nprobe {index.nprobe} of {index.nlist}" if index.nlist else "exact"
        )
        return (
            f"shard {self.shard}: head {self.head.seq}, {made.products} products, {made.rows} rows, {how}; "
            f"{self.records} records in {self.seconds:.1f} s"
        )


def compact_once(
    log: IndexLog,
    store: ObjectStore,
    lane: Lane,
    shard: int,
    *,
    metrics: Metrics | None = None,
    reason: str = "by hand",
    should_stop: Callable[[], bool] = lambda: False,
) -> CompactionReport:
    """Fold the log up to its end as of now into a new generation of one shard, and publish it.

    Raises:
        BuildRejected: the build failed a check; what is served stays.
        HeadExists: another compactor was faster; nothing to do.
        StorageError, BrokerUnavailable: as :func:`index_nodes.replica.restore`.
    """
    started = time.monotonic()
    state = GenerationState.PLANNED
    parent = newest_head(store, lane, shard)
    until = log.bounds().end
    replica = restore(
        parent,
        until,
        log=log,
        store=store,
        lane=lane,
        shard=shard,
        builder=NoGraphs(),
        metrics=NullMetrics(),
        should_stop=should_stop,
    )
    try:
        if replica.blocked is not None:
            raise replica.blocked
        if not replica.has_applied(until):
            raise BuildRejected("stopped before the end of the log was read")
        records = replica.applier.log_records
        if not records:
            return CompactionReport(shard, None, None, 0, time.monotonic() - started)
        state = advance(GENERATION, state, GenerationEvent.BUILD)
        manifest = _build(replica, store, lane, shard)
        state = advance(GENERATION, state, GenerationEvent.BUILT)
        try:
            _verify(store, manifest, replica.view, lane)
            state = advance(GENERATION, state, GenerationEvent.VERIFIED)
            head = _publish(store, lane, shard, manifest, parent.seq if parent else 0, reason)
        except (BuildRejected, HeadExists):
            advance(GENERATION, state, GenerationEvent.REJECT)
            _drop(store, manifest)
            raise
        advance(GENERATION, state, GenerationEvent.PUBLISH)
    finally:
        replica.close()
    report = CompactionReport(shard, head, manifest, records, time.monotonic() - started)
    (metrics or NullMetrics()).observe("freshlens_compaction_seconds", report.seconds)
    _log.info("compacted", summary=report.summary, reason=reason)
    return report


def roll_back(log: IndexLog, store: ObjectStore, lane: Lane, shard: int, seq: int) -> Head:
    """Publish a new head that points at the build of an older one.

    Raises:
        LogTruncated: the log does not reach back to it. LogChanged: it is of another log.
        ManifestCorrupt, ChecksumMismatch: the build is damaged. HeadExists: try again.
    """
    old = read_head(store, lane, shard, seq)
    manifest = read_manifest(store, shard, old.build, old.manifest_checksum)
    check_positions(log.bounds(), log_id_of(manifest), manifest.positions)
    check_files(store, manifest)
    newest = head_numbers(store, lane, shard)[-1]
    return _publish(store, lane, shard, manifest, newest, f"rollback to head {seq}")


def _build(replica: Replica, store: ObjectStore, lane: Lane, shard: int) -> Manifest:
    """Write the files into a folder of our own, then into the store, the manifest last."""
    build, view = uuid.uuid4().hex, replica.view
    with tempfile.TemporaryDirectory(prefix="freshlens-build-") as name:
        folder = Path(name)
        built = write_generation(view, folder)
        files = {path.name: file_facts(path) for path in sorted(folder.iterdir())}
        for file in files:
            store.put_file(build_key(shard, build, file), folder / file)
    manifest = Manifest(
        format=FORMAT,
        build=build,
        shard=shard,
        layout_id=lane.layout.layout_id,
        lane=lane.name,
        space=str(lane.space),
        log_id=str(replica.log_id),
        next_offsets={str(partition): int(offset) for partition, offset in view.offsets.applied.items()},
        slots=built.slots,
        rows=built.rows,
        first_rows=built.first_rows,
        products=built.products,
        tombstones=built.tombstones,
        index=built.index,
        digest=built.digest,
        record_bytes_mean=replica.applier.log_bytes / max(1, replica.applier.log_records),
        created_at_us=time.time_ns() // 1000,
        files=files,
    )
    _check_counts(built, view)
    if not store.put_if_absent(build_key(shard, build, MANIFEST), manifest.to_bytes()):
        raise BuildRejected(f"build {build} exists already")
    return manifest


def _check_counts(built: Built, view: IndexView) -> None:
    if (built.slots, built.rows, built.products) != (view.slots, view.live_rows, view.products):
        raise BuildRejected(
            f"built {built.slots} slots, {built.rows} rows and {built.products} products of a view that has "
            f"{view.slots}, {view.live_rows} and {view.products}"
        )


def _verify(store: ObjectStore, manifest: Manifest, view: IndexView, lane: Lane) -> None:
    """Read back what was written, as a node will.

    Raises:
        BuildRejected: a file, the logical content, or the recall is not what it must be.
    """
    try:
        written = generations.load(check_files(store, manifest), manifest, lane.space.dim)
    except FreshlensError as error:
        raise BuildRejected(f"build {manifest.build} does not load: {error.message}") from error
    if (found := digest_of_generation(written)) != manifest.digest:
        raise BuildRejected(f"build {manifest.build} holds the state {found}, not {manifest.digest}")
    for slot in range(written.slots):
        if len(written.rows_of(slot)) != len(written.state(slot).views):
            raise BuildRejected(f"product {written.keys.raw(slot)!r} lacks a view in build {manifest.build}")
    if manifest.index.recall_at_10 < RECALL_FLOOR:
        raise BuildRejected(
            f"build {manifest.build} finds {manifest.index.recall_at_10:.3f} of the ten nearest, not {RECALL_FLOOR}"
        )
    assert len(written) == view.live_rows


def _publish(store: ObjectStore, lane: Lane, shard: int, manifest: Manifest, parent: int, reason: str) -> Head:
    head = Head(
        seq=parent + 1,
        build=manifest.build,
        manifest_checksum=checksum(manifest.to_bytes()),
        next_offsets=manifest.next_offsets,
        log_id=manifest.log_id,
        reason=reason,
        created_at_us=time.time_ns() // 1000,
    )
    publish(store, lane, shard, head)
    return head


def _drop(store: ObjectStore, manifest: Manifest) -> None:
    """Remove a build that no head will ever name; the manifest first, so that no half of it can be loaded."""
    for file in (MANIFEST, *manifest.files):
        store.delete(build_key(manifest.shard, manifest.build, file))
