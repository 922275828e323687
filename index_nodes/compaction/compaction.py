"""One compaction: generation G and the log behind it become G + 1, verified, and published by a head.

Steps, each of which may be the last one: plan, build, verify, publish. Nothing that is served changes before the last,
and the last is one create-if-absent, so any number of compactors may race.
"""

import contextlib
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from index_nodes.compaction.build import BuildOptions, Built, write_generation
from index_nodes.compaction.changes import changes_within
from index_nodes.compaction.drift import stamped, why_retrain
from index_nodes.compaction.gate import Answers, Verdict, judge
from index_nodes.compaction.inventory import build_name, delete_build
from index_nodes.compaction.publication import publish_build
from index_nodes.compaction.report import Report, hubness_of, save_report
from index_nodes.generations import generation as generations
from index_nodes.generations.heads import Head, Rejection, newest_head, reject, rejected_in_a_row, rejections
from index_nodes.generations.manifest import (
    FORMAT,
    MANIFEST,
    FileFacts,
    IndexFacts,
    Manifest,
    build_key,
    check_files,
    checksum,
    file_facts,
)
from index_nodes.replicas.log import IndexLog
from index_nodes.replicas.replica import Replica, restore
from index_nodes.rows.graph import NoGraphs
from index_nodes.settings import BuildPolicy
from index_nodes.states import GENERATION, GenerationEvent, GenerationState, advance
from schemas.clock import Clock, SystemClock
from schemas.errors import BuildRejected, DiskFull, FreshlensError, HeadExists, TransientError
from schemas.lane import Lane
from schemas.metrics import Metrics, NullMetrics
from topics.disk import naming_disk_full, remove_abandoned
from topics.store import ObjectStore

_log = structlog.get_logger()
_BUILD_FOLDER = "freshlens-build-"
_ABANDONED_S = 86_400.0
"""A build that has written nothing for so long has died."""


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What one compaction did. ``head`` None: there was nothing new in the log."""

    shard: int
    head: Head | None
    manifest: Manifest | None
    records: int
    seconds: float
    pages: tuple[str, ...] = ()
    """Store keys of the report, as JSON and as HTML."""

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
    policy: BuildPolicy | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
    on_stage: Callable[[str], None] = lambda _: None,
) -> CompactionReport:
    """Fold the log up to its end as of now into a new generation of one shard, and publish it.

    Args:
        on_stage: told what is done now, for people who wait.

    Raises:
        BuildRejected: the build failed a check; it is kept with a record of why, and what is served stays.
        HeadExists: another compactor was faster; nothing to do.
        TransientError: it was told to stop, or the broker is away.
        StorageError: as :func:`index_nodes.replicas.replica.restore`.
    """
    stages = Stages(clock or SystemClock(), on_stage, should_stop)
    parent = newest_head(store, lane, shard)
    with stages("reading the log"):
        replica = _folded(log, store, lane, shard, parent, stages)
    try:
        if not replica.applier.log_records:
            return CompactionReport(shard, None, None, 0, stages.total_s)
        made = _Attempt(store, lane, shard, parent, replica, policy or BuildPolicy(), reason, stages).run()
    finally:
        replica.close()
    (metrics or NullMetrics()).observe("freshlens_compaction_seconds", made.seconds)
    _log.info("compacted", summary=made.summary, reason=reason)
    return made


@dataclass
class Stages:
    """How long each step took, who is told of it, and whether there is to be another."""

    clock: Clock
    on_stage: Callable[[str], None]
    should_stop: Callable[[], bool]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.on_stage(name)
        started = self.clock.monotonic()
        yield
        self.seconds[name] = self.clock.monotonic() - started

    def check_stop(self) -> None:
        """Do nothing, unless told to stop: raises TransientError then."""
        if self.should_stop():
            raise TransientError("stopped before the build was done")

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())


@dataclass
class _Attempt:
    """One generation on its way from planned to active, or to rejected."""

    store: ObjectStore
    lane: Lane
    shard: int
    parent: Head | None
    replica: Replica
    policy: BuildPolicy
    reason: str
    stages: Stages
    state: GenerationState = GenerationState.PLANNED

    def __post_init__(self) -> None:
        self.build = build_name(self.stages.clock.now_us(), uuid.uuid4().hex)

    def run(self) -> CompactionReport:
        try:
            manifest, verdict = self._built_and_judged()
        except (FreshlensError, OSError):
            # Tried again soon, perhaps for hours: what each attempt leaves would fill the disk before retention looks.
            with contextlib.suppress(FreshlensError, OSError):
                delete_build(self.store, self.shard, self.build)
            raise
        if verdict.reasons:
            self._reject(manifest, verdict)
        self._advance(GenerationEvent.VERIFIED)
        head = self._publish(manifest)
        self._advance(GenerationEvent.PUBLISH)
        with self.stages("reporting"):
            pages = self._told(self._report(manifest, head, verdict.answers))
        return CompactionReport(self.shard, head, manifest, self._records, self.stages.total_s, pages)

    def _built_and_judged(self) -> tuple[Manifest, Verdict]:
        options = self._plan()
        self._advance(GenerationEvent.BUILD)
        with self.stages("building"):
            manifest = self._build(options)
        self._advance(GenerationEvent.BUILT)
        self.stages.check_stop()
        with self.stages("verifying"):
            return manifest, self._verify(manifest)

    def _plan(self) -> BuildOptions:
        """What to forget, and whether the codebook still fits."""
        now_us = self.stages.clock.now_us()
        rejected = rejected_in_a_row(rejections(self.store, self.lane, self.shard), self.parent)
        retrain = why_retrain(self.policy, self._parent_index, self.replica.view.live_rows, now_us, rejected)
        # Any one clock may be wrong, and the greatest append time never falls: both must say that a deletion is old.
        agreed_ms = min(self.replica.applier.newest_append_ms, now_us // 1000)
        return BuildOptions(max(0, agreed_ms - self.policy.tombstone_ms), retrain)

    def _build(self, options: BuildOptions) -> Manifest:
        """Write the files into a folder of our own, then into the store, the manifest last."""
        place = Path(tempfile.gettempdir())
        remove_abandoned(place.glob(f"{_BUILD_FOLDER}*"), _ABANDONED_S)
        with naming_disk_full(place), tempfile.TemporaryDirectory(prefix=_BUILD_FOLDER) as name:
            folder = Path(name)
            built, retrained = self._written(folder, options)
            files = {path.name: file_facts(path) for path in sorted(folder.iterdir())}
            for file in files:
                self.stages.check_stop()
                self.store.put_file(build_key(self.shard, self.build, file), folder / file)
        manifest = self._manifest(built, retrained, files)
        if not self.store.put_if_absent(build_key(self.shard, self.build, MANIFEST), manifest.to_bytes()):
            raise TransientError(f"build {self.build} exists already")
        return manifest

    def _written(self, folder: Path, options: BuildOptions) -> tuple[Built, str | None]:
        """The files, and why their codebook is new; None: it is that of the parent."""
        view, layout, parent = self.replica.view, self.lane.layout, self._parent_index
        built = write_generation(view, layout, folder, options)
        if not (built.index.nlist and parent.nlist):
            return built, "there was none before" if built.index.nlist else None
        if options.retrain is None:
            now_us = self.stages.clock.now_us()
            # How well the old codebook fits the new rows is known only when they are encoded with it.
            why = why_retrain(self.policy, stamped(built.index, parent, True, built.rows, now_us), built.rows, now_us)
            options = replace(options, retrain=why)
            self.stages.check_stop()
            built = built if why is None else write_generation(view, layout, folder, options)
        return built, options.retrain

    def _manifest(self, built: Built, retrained: str | None, files: dict[str, FileFacts]) -> Manifest:
        view, applier, now_us = self.replica.view, self.replica.applier, self.stages.clock.now_us()
        return Manifest(
            format=FORMAT,
            build=self.build,
            parent_build=self.parent.build if self.parent else "",
            parent_seq=self.parent.seq if self.parent else 0,
            reason=self.reason,
            shard=self.shard,
            layout_id=self.lane.layout.layout_id,
            lane=self.lane.name,
            space=str(self.lane.space),
            log_id=str(self.replica.log_id),
            next_offsets={str(partition): int(offset) for partition, offset in view.offsets.applied.items()},
            slots=built.slots,
            rows=built.rows,
            first_rows=built.first_rows,
            products=built.products,
            tombstones=built.tombstones,
            dropped_tombstones=built.dropped_tombstones,
            index=stamped(built.index, self._parent_index, retrained is None, built.rows, now_us),
            retrained=retrained,
            digests=built.digests,
            newest_append_ms=applier.newest_append_ms,
            record_bytes_mean=applier.log_bytes / max(1, applier.log_records),
            created_at_us=now_us,
            files=files,
        )

    def _verify(self, manifest: Manifest) -> Verdict:
        """Read back what was written, as a node will, and judge it."""
        try:
            written = generations.load(check_files(self.store, manifest), manifest, self.lane.space.dim)
        except (TransientError, DiskFull):
            raise  # which says nothing of the build
        except FreshlensError as error:
            return Verdict((f"does not load: {error}",), Answers())
        return judge(written, manifest, self.replica.view, self.lane, self.policy.overlap_loss_max)

    def _reject(self, manifest: Manifest, verdict: Verdict) -> None:
        """Keep the build with a record of why, and say so."""
        self._advance(GenerationEvent.REJECT)
        rejection = Rejection(
            build=manifest.build,
            parent_seq=manifest.parent_seq,
            manifest_checksum=checksum(manifest.to_bytes()),
            reasons=verdict.reasons,
            rejected_at_us=self.stages.clock.now_us(),
        )
        reject(self.store, self.lane, self.shard, rejection)
        self._told(self._report(manifest, None, verdict.answers, verdict.reasons))
        raise BuildRejected(f"build {manifest.build} " + "; ".join(verdict.reasons))

    def _publish(self, manifest: Manifest) -> Head:
        try:
            return publish_build(self.store, self.lane, manifest, self.reason, self.stages.clock.now_us())
        except HeadExists:
            self._advance(GenerationEvent.REJECT)
            delete_build(self.store, self.shard, self.build)
            raise

    def _report(self, manifest: Manifest, head: Head | None, answers: Answers, reasons: tuple[str, ...] = ()) -> Report:
        view = self.replica.view
        return Report(
            manifest=manifest,
            seq=head.seq if head else None,
            rejected=reasons,
            records=self._records,
            changes=changes_within(view),
            answers=answers,
            hubness=hubness_of(view),
            stage_seconds={name: round(seconds, 3) for name, seconds in self.stages.seconds.items()},
        )

    def _told(self, report: Report) -> tuple[str, ...]:
        """Save the report; what was decided stands even if that fails."""
        try:
            return save_report(self.store, self.lane, report)
        except (FreshlensError, OSError) as error:
            _log.warning("report-unsaved", build=self.build, reason=str(error))
            return ()

    @property
    def _records(self) -> int:
        return self.replica.applier.log_records

    @property
    def _parent_index(self) -> IndexFacts:
        manifest = self.replica.view.generation.manifest
        return manifest.index if manifest else IndexFacts()

    def _advance(self, event: GenerationEvent) -> None:
        self.state = advance(GENERATION, self.state, event)


def _folded(
    log: IndexLog,
    store: ObjectStore,
    lane: Lane,
    shard: int,
    parent: Head | None,
    stages: Stages,
) -> Replica:
    """The generation of ``parent`` and the log up to its end as of now."""
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
        should_stop=stages.should_stop,
        clock=stages.clock,
    )
    try:
        if replica.blocked is not None:
            raise replica.blocked
        if not replica.has_applied(until):
            raise TransientError("stopped before the end of the log was read")
    except FreshlensError:
        replica.close()
        raise
    return replica
