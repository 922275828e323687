"""What of the past may go: the decision, and its effects on a store and a log."""

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from index_nodes.compaction import publication
from index_nodes.compaction.compaction import compact_once
from index_nodes.compaction.inventory import Inventory, Sibling, build_name, read_inventory
from index_nodes.compaction.publication import roll_back
from index_nodes.compaction.report import report_keys
from index_nodes.compaction.retention import collect, plan_retention, served_heads
from index_nodes.generations.heads import Head, Rejection, head_numbers, newest_head, rejections
from index_nodes.generations.manifest import MANIFEST, Manifest, build_key, check_files
from index_nodes.settings import RetentionPolicy
from schemas.clock import ManualClock
from schemas.errors import LogTruncated, ManifestCorrupt
from schemas.metrics import RecordingMetrics
from schemas.node_status import NodeStatus
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from topics.store import ObjectStore

HOUR_US = 3_600_000_000
NOW_US = 1_795_000_000_000_000
LANE = records.lane_of(partitions=2)
POLICY = RetentionPolicy()
RED = records.picture(1)


def head(seq: int, hours_old: float, build: str | None = None, offsets: tuple[int, int] | None = None) -> Head:
    first, second = offsets or (10 * seq, 10 * seq + 5)
    return Head(
        seq=seq,
        build=build or named(hours_old),
        manifest_checksum="",
        next_offsets={"0": first, "1": second},
        log_id=str(records.LOG_ID),
        reason="",
        created_at_us=NOW_US - int(hours_old * HOUR_US),
    )


def named(hours_old: float) -> str:
    return build_name(NOW_US - int(hours_old * HOUR_US), f"{int(hours_old * 10):012d}")


def shelf(*heads: Head, orphans: tuple[str, ...] = (), siblings: tuple[Sibling, ...] = ()) -> Inventory:
    files = {build: frozenset({MANIFEST}) for build in (*(each.build for each in heads), *orphans)}
    return Inventory(heads=heads, siblings=siblings, files=files)


def plan(inventory: Inventory, served: frozenset[int] = frozenset(), policy: RetentionPolicy = POLICY):
    return plan_retention(inventory, served, LANE, records.LOG_ID, NOW_US, policy)


def test_two_heads_stay_however_old() -> None:
    assert plan(shelf(head(1, 300), head(2, 200), head(3, 100))).delete_heads == (1,)


def test_the_only_head_stays() -> None:
    found = plan(shelf(head(1, 10_000)))
    assert found.delete_heads == ()
    assert found.truncate_below == {0: 10, 1: 15}


def test_all_of_three_days_stay() -> None:
    assert plan(shelf(head(1, 71), head(2, 3), head(3, 2), head(4, 1))).delete_heads == ()
    assert plan(shelf(head(1, 73), head(2, 3), head(3, 2), head(4, 1))).delete_heads == (1,)


def test_a_head_that_a_node_serves_stays_and_holds_the_log() -> None:
    found = plan(shelf(head(1, 300), head(2, 200), head(3, 100)), served=frozenset({1}))
    assert found.delete_heads == ()
    assert found.truncate_below == {0: 10, 1: 15}


def test_a_build_and_its_log_outlive_their_head_by_a_round() -> None:
    """Somebody may have read the head just now, and be about to roll back to it."""
    before = shelf(head(1, 300), head(2, 200), head(3, 100))
    assert plan(before).delete_builds == ()
    assert plan(before).truncate_below == {0: 10, 1: 15}
    after = replace(before, heads=before.heads[1:])
    assert plan(after).delete_builds == (before.heads[0].build,)
    assert plan(after).truncate_below == {0: 20, 1: 25}


def test_a_build_stays_while_any_head_names_it() -> None:
    """Head 4 is a rollback to the build of head 1, and another lane has a build beside ours."""
    old, foreign = named(300), named(400)
    sibling = Sibling("other", foreign, "another:log", {"0": 0, "1": 0})
    rolled_back = shelf(head(3, 100), head(4, 90, build=old, offsets=(1, 2)), orphans=(foreign,), siblings=(sibling,))
    found = plan(rolled_back)
    assert found.delete_builds == ()
    assert found.truncate_below == {0: 1, 1: 2}, "it has to be served from where it ends"


def test_a_build_without_a_head_goes_after_a_day() -> None:
    found = plan(shelf(head(1, 1), orphans=(named(23), named(25), "not-one-of-ours")))
    assert found.delete_builds == (named(25),)


def test_nothing_is_truncated_for_want_of_permission_or_a_common_log() -> None:
    heads = head(1, 300), head(2, 200)
    assert plan(shelf(*heads), policy=replace(POLICY, truncates=False)).truncate_below == {}
    assert plan(shelf()).truncate_below == {}
    recreated = msgspec.structs.replace(heads[0], log_id="cluster:made-again")
    assert plan(shelf(recreated, heads[1])).truncate_below == {}


def test_a_shard_of_another_layout_holds_the_partitions_it_shares() -> None:
    resharded = Sibling(LANE.name, "x", str(records.LOG_ID), {"0": 3})
    assert plan(shelf(head(1, 2), head(2, 1), siblings=(resharded,))).truncate_below == {0: 3, 1: 15}
    other_lane = replace(resharded, lane="other")
    assert plan(shelf(head(1, 2), head(2, 1), siblings=(other_lane,))).truncate_below == {0: 10, 1: 15}


def test_only_partitions_of_the_shard_are_truncated() -> None:
    beside = Sibling(LANE.name, "x", str(records.LOG_ID), {"7": 3})
    assert set(plan(shelf(head(1, 2), siblings=(beside,))).truncate_below) == {0, 1}


def test_of_rejected_builds_the_newest_two_stay_for_a_day_and_one_that_is_served_stays() -> None:
    builds = [named(hours) for hours in (25, 5, 4, 3, 2, 1)]
    rejected = {
        build: Rejection(build=build, parent_seq=1, manifest_checksum="", reasons=("x",), rejected_at_us=NOW_US + age)
        for age, build in enumerate(builds)
    }
    inventory = replace(shelf(head(1, 30), head(2, 4, build=builds[2]), orphans=tuple(builds)), rejections=rejected)
    assert plan(inventory).delete_builds == (builds[0], builds[1], builds[3])


def test_a_record_of_a_rejection_goes_when_it_says_nothing_any_more() -> None:
    def rejection(build: str, parent_seq: int) -> Rejection:
        return Rejection(
            build=build, parent_seq=parent_seq, manifest_checksum="", reasons=("x",), rejected_at_us=NOW_US
        )

    kept = {"there": rejection("there", 1), "in-a-row": rejection("in-a-row", 2), "gone": rejection("gone", 1)}
    inventory = replace(shelf(head(1, 2), head(2, 1), orphans=("there",)), rejections=kept)
    assert plan(inventory).delete_rejections == ("gone",)


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ({}, True),
        ({"lane": "other"}, False),
        ({"layout_id": "p9s1"}, False),
        ({"shard": 1}, False),
        ({"reported_at": NOW_US - HOUR_US - 1}, False),
    ],
)
def test_a_report_counts_for_an_hour_and_for_its_own_shard(changed: dict[str, object], counts: bool) -> None:
    reported = status(7, **changed)
    assert served_heads([reported], LANE, 0, NOW_US, POLICY) == (frozenset({7}) if counts else frozenset())


def status(generation: int, **changed: object) -> NodeStatus:
    values: dict[str, object] = {
        "node_id": "n0",
        "url": "",
        "shard": 0,
        "replica": 0,
        "layout_id": LANE.layout.layout_id,
        "lane": LANE.name,
        "space": str(LANE.space),
        "log_id": str(records.LOG_ID),
        "state": "serving",
        "generation": generation,
        "applied": {},
        "products": 0,
        "delta_rows": 0,
        "reported_at": NOW_US,
        **changed,
    }
    return msgspec.convert(values, NodeStatus)


# --- effects ---------------------------------------------------------------------------------------------------


class Kept:
    """Generations made on days in succession, and the retention of them."""

    def __init__(self, folder: Path) -> None:
        self.index = Index(folder, LANE)
        self.clock = ManualClock(NOW_US)
        self.metrics = RecordingMetrics()

    def compact(self, product: str) -> None:
        self.index.apply(records.content(product, 1, [RED]))
        compact_once(self.index.log, self.index.store, LANE, 0, clock=self.clock)
        self.clock.advance(86_400 * 2)

    def collect(self, *statuses: NodeStatus, store: ObjectStore | None = None, policy: RetentionPolicy = POLICY):
        store = store or self.index.store
        return collect(self.index.log, store, LANE, 0, statuses, policy, self.metrics, self.clock)

    @property
    def heads(self) -> list[int]:
        return head_numbers(self.index.store, LANE, 0)

    @property
    def builds(self) -> set[str]:
        return {key.split("/")[2] for key in self.index.store.list("builds")}

    def check(self) -> None:
        """What matters whatever happened: the newest head restores, with everything."""
        replica = self.index.restored()
        try:
            assert replica.view.products == self.index.view.products
        finally:
            replica.close()


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "store")


def test_the_past_goes_in_two_rounds(kept: Kept) -> None:
    for number in range(4):
        kept.compact(f"p{number}")
    assert kept.collect().delete_heads == (1, 2)
    assert kept.heads == [3, 4]
    assert len(kept.builds) == 4
    assert len(kept.collect().delete_builds) == 2
    assert kept.builds == {head.build for head in read_inventory(kept.index.store, LANE, 0).heads}
    assert sum(kept.index.log.begin) == 3, "three records lie below head 3"
    assert kept.metrics.values["freshlens_builds_deleted_total", ()] == 2
    again = kept.collect()
    assert (again.delete_heads, again.delete_builds) == ((), ())
    kept.check()


def test_reports_outlive_their_heads_but_not_for_ever(kept: Kept) -> None:
    for number in range(4):
        kept.compact(f"p{number}")
    rejected = report_keys(LANE, 0, "20261120T030000-0123456789ab")
    for key in rejected:
        kept.index.store.put(key, b"of a rejection that is settled")
    kept.collect(policy=replace(POLICY, reports=3))
    kept_reports = {key for seq in (2, 3, 4) for key in report_keys(LANE, 0, seq)}
    assert set(kept.index.store.list("reports")) == kept_reports


def test_a_rollback_to_what_is_gone_or_below_the_log_is_refused(kept: Kept) -> None:
    for number in range(3):
        kept.compact(f"p{number}")
    kept.collect()
    with pytest.raises(ManifestCorrupt, match="retention removed it"):
        roll_back(kept.index.log, kept.index.store, LANE, 0, 1)
    kept.index.log.begin = [len(partition) for partition in kept.index.log.records]
    with pytest.raises(LogTruncated):
        roll_back(kept.index.log, kept.index.store, LANE, 0, 2)


def test_a_rollback_is_refused_if_its_head_went_while_the_files_were_checked(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rounds of retention later neither its build nor its log is there."""
    for number in range(4):
        kept.compact(f"p{number}")

    def slow(store: ObjectStore, manifest: Manifest) -> Path:
        folder = check_files(store, manifest)
        kept.collect()
        kept.collect()
        return folder

    monkeypatch.setattr(publication, "check_files", slow)
    with pytest.raises(ManifestCorrupt, match="retention removed it"):
        roll_back(kept.index.log, kept.index.store, LANE, 0, 1, clock=kept.clock)
    assert kept.heads == [3, 4]
    kept.check()


class Crashing:
    """A store that dies at the n-th effect."""

    def __init__(self, store: ObjectStore, effects: int) -> None:
        self._store, self._left = store, effects

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def delete(self, key: str) -> None:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        self._store.delete(key)


def test_a_crash_between_any_two_effects_leaves_what_is_served(tmp_path: Path) -> None:
    crashes = 0
    for effects in range(40):
        kept = Kept(tmp_path / str(effects))
        for number in range(4):
            kept.compact(f"p{number}")
        try:
            for _ in range(2):
                kept.collect(store=Crashing(kept.index.store, effects))  # type: ignore[arg-type]
        except KeyboardInterrupt:
            crashes += 1
        else:
            break
        kept.check()
        no_half_build_looks_whole(kept)
        for _ in range(2):
            kept.collect()
        assert kept.heads == [3, 4]
        assert kept.builds == {head.build for head in read_inventory(kept.index.store, LANE, 0).heads}
    assert crashes > 2


def no_half_build_looks_whole(kept: Kept) -> None:
    for files in read_inventory(kept.index.store, LANE, 0).files.values():
        assert MANIFEST not in files or len(files) >= 6


def test_an_unreadable_head_removes_nothing(kept: Kept) -> None:
    for number in range(4):
        kept.compact(f"p{number}")
    kept.index.store.put(f"heads/{LANE.layout.layout_id}/other/0/000000000001.json", b"{")
    with pytest.raises(ManifestCorrupt):
        kept.collect()
    assert kept.heads == [1, 2, 3, 4]
    assert sum(kept.index.log.begin) == 0


def test_what_a_killed_compactor_left_is_collected(kept: Kept) -> None:
    left = build_name(kept.clock.now_us(), "f" * 12)
    kept.index.store.put(build_key(0, left, "vectors.f16"), b"half")
    kept.compact("p0")
    assert left in kept.builds, "it might still be at work"
    kept.collect()
    assert left not in kept.builds
    assert newest_head(kept.index.store, LANE, 0) is not None
    assert rejections(kept.index.store, LANE, 0) == []


def test_what_a_compactor_killed_while_it_stored_a_file_left_is_removed_after_a_day(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its half of the file is no key, and its own folder is not in the store at all."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    program = f"""
import os, signal
from pathlib import Path
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from topics import store
store.sync_file = lambda _: os.kill(os.getpid(), signal.SIGKILL)
index = Index(Path({str(kept.index.store.root)!r}), records.lane_of(partitions=2))
index.apply(records.content("p", 1, [records.picture(1)]))
index.compact()
"""
    environ = {**os.environ, "TMPDIR": str(scratch)}
    ended = subprocess.run([sys.executable, "-c", program], check=False, env=environ, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr

    def left() -> list[str]:
        return sorted(path.name[:5] for path in (*scratch.iterdir(), *kept.index.store.root.rglob(".*")))

    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    kept.compact("p0")
    kept.collect()
    assert left() == [".tmp-", "fresh"], "it might still be at work"
    for path in tmp_path.rglob("*"):
        os.utime(path, (1e9, 1e9))
    kept.compact("p1")
    kept.collect()
    assert left() == []
    kept.check()
