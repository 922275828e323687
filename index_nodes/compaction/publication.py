"""Publishing a build by a head: after its compaction, by going back to it, or by hand although it was rejected."""

from index_nodes.compaction.inventory import made_at_us
from index_nodes.generations.heads import Head, head_numbers, publish, read_head, rejections
from index_nodes.generations.manifest import Manifest, check_files, check_lane, checksum, log_id_of, read_manifest
from index_nodes.replicas.log import IndexLog, check_positions
from index_nodes.settings import RetentionPolicy
from index_nodes.states import GENERATION, GenerationEvent, GenerationState, advance
from schemas.clock import Clock, SystemClock
from schemas.errors import BuildRejected, ManifestCorrupt
from schemas.lane import Lane
from topics.store import ObjectStore

_PUBLISHABLE_US = RetentionPolicy().unpublished_us // 2
"""An older build is not published any more: retention may be about to take it for an orphan."""


def publish_build(store: ObjectStore, lane: Lane, manifest: Manifest, reason: str, now_us: int) -> Head:
    """Make a build the one to follow its parent.

    Raises:
        HeadExists: another one follows it already.
        BuildRejected: it is so old that retention may remove it at any moment.
        StoreUnavailable: it may be published or not.
    """
    age_us = now_us - (made_at_us(manifest.build) or now_us)
    if age_us > _PUBLISHABLE_US:
        hours = age_us / 3.6e9
        raise BuildRejected(f"build {manifest.build} is {hours:.0f} hours old: retention may remove it; compact again")
    return _publish(store, lane, manifest, manifest.parent_seq, reason, now_us)


def roll_back(
    log: IndexLog, store: ObjectStore, lane: Lane, shard: int, seq: int, *, clock: Clock | None = None
) -> Head:
    """Publish a new head that points at the build of an older one.

    Raises:
        LogTruncated: the log does not reach back to it. LogChanged: it is of another log.
        ManifestCorrupt, ChecksumMismatch: the head or build is gone or damaged. HeadExists: try again.
    """
    old = read_head(store, lane, shard, seq)
    manifest = read_manifest(store, shard, old.build, old.manifest_checksum)
    _check_servable(log, store, lane, manifest)
    # The check may have taken minutes. While its head is there, its build and its log stay for another round at least.
    read_head(store, lane, shard, seq)
    newest = head_numbers(store, lane, shard)[-1]
    now_us = (clock or SystemClock()).now_us()
    return _publish(store, lane, manifest, newest, f"rollback to head {seq}", now_us)


def accept(
    log: IndexLog, store: ObjectStore, lane: Lane, shard: int, build: str, reason: str, *, clock: Clock | None = None
) -> Head:
    """Publish the build that was rejected last, by hand.

    Args:
        build: its name, or the beginning of it.
        reason: why its faults are acceptable; it is kept in the head.

    Raises:
        ManifestCorrupt, ChecksumMismatch: it is not there, or damaged. LogTruncated, LogChanged: as for a rollback.
        HeadExists: another generation was published since it was made.
        BuildRejected: it is so old, or was followed by another, that retention may remove it at any moment.
    """
    found = [each for each in rejections(store, lane, shard) if build and each.build.startswith(build)]
    if len(found) != 1:
        raise ManifestCorrupt(f"{len(found)} rejected builds of shard {shard} begin with {build!r}, not one")
    (rejection,) = found
    manifest = read_manifest(store, shard, rejection.build, rejection.manifest_checksum)
    _check_servable(log, store, lane, manifest)
    # The check may have taken minutes. The newest rejected build stays until two others are rejected.
    if rejection not in rejections(store, lane, shard)[-1:]:
        raise BuildRejected(
            f"another build was rejected after {rejection.build}, which retention may remove: accept that"
        )
    now_us = (clock or SystemClock()).now_us()
    state = advance(GENERATION, GenerationState.REJECTED, GenerationEvent.ACCEPT)
    head = publish_build(store, lane, manifest, f"accepted: {reason}", now_us)
    advance(GENERATION, state, GenerationEvent.PUBLISH)
    return head


def _check_servable(log: IndexLog, store: ObjectStore, lane: Lane, manifest: Manifest) -> None:
    check_lane(manifest, lane)
    check_positions(log.bounds(), log_id_of(manifest), manifest.positions)
    check_files(store, manifest)


def _publish(store: ObjectStore, lane: Lane, manifest: Manifest, parent: int, reason: str, now_us: int) -> Head:
    head = Head(
        seq=parent + 1,
        build=manifest.build,
        manifest_checksum=checksum(manifest.to_bytes()),
        next_offsets=manifest.next_offsets,
        log_id=manifest.log_id,
        reason=reason,
        created_at_us=now_us,
    )
    publish(store, lane, manifest.shard, head)
    return head
