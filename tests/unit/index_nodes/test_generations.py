"""Builds, heads, and what is refused rather than served."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from index_nodes.compaction import compaction, gate
from index_nodes.compaction.build import digest_of_generation
from index_nodes.compaction.compaction import compact_once
from index_nodes.compaction.publication import roll_back
from index_nodes.generations import heads
from index_nodes.generations.heads import head_key, head_numbers, newest_head, publish, read_head, rejections
from index_nodes.generations.manifest import MANIFEST, build_key, checksum, read_manifest
from index_nodes.products.digest import Digest
from index_nodes.replicas.replica import load_generation
from index_nodes.replicas.voids import VoidMark, Voids
from schemas.embeddings import Space
from schemas.errors import (
    BuildRejected,
    ChecksumMismatch,
    DiskFull,
    HeadExists,
    LayoutChanged,
    LogChanged,
    LogRecordUnreadable,
    LogTruncated,
    ManifestCorrupt,
    SpaceChanged,
    StorageError,
    StoreUnavailable,
)
from schemas.layout import LogId
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from topics.store import FileStore

RED = records.picture(1)


def test_an_empty_log_is_not_compacted(index: Index) -> None:
    assert index.compact().head is None
    index.apply(records.content("p", 1, [RED]))
    assert index.compact().head is not None
    assert index.compact().head is None
    assert head_numbers(index.store, index.lane, 0) == [1]


def test_a_tombstone_is_kept(index: Index) -> None:
    index.apply(records.delete("never-seen", 5))
    index.compact_and_swap()
    index.apply(records.content("never-seen", 4, [RED]))
    index.compact_and_swap()
    index.apply(records.content("never-seen", 5, [RED]))
    assert index.ids(RED) == []
    assert index.view.slots == 1


def test_two_compactors_make_one_chain(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one finds its number taken, and leaves nothing behind."""
    index.apply(records.content("p", 1, [RED]))

    def overtaken(*arguments: object) -> gate.Verdict:
        monkeypatch.setattr(compaction, "judge", gate.judge)
        index.compact()
        return gate.judge(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(compaction, "judge", overtaken)
    with pytest.raises(HeadExists):
        index.compact()
    assert head_numbers(index.store, index.lane, 0) == [1]
    head = newest_head(index.store, index.lane, 0)
    assert head is not None
    assert {key.split("/")[2] for key in index.store.list("builds")} == {head.build}


def test_a_build_that_fails_a_check_is_not_published(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.apply(records.content("p", 1, [RED]))
    monkeypatch.setattr(gate, "digest_of_generation", lambda _: Digest())
    with pytest.raises(BuildRejected, match="holds the state"):
        index.compact()
    assert head_numbers(index.store, index.lane, 0) == []
    (rejection,) = rejections(index.store, index.lane, 0)
    assert "holds the state" in rejection.reasons[0]
    assert read_manifest(index.store, 0, rejection.build, rejection.manifest_checksum).build == rejection.build


def test_equal_input_gives_equal_files(tmp_path: Path) -> None:
    facts = []
    for name in ("one", "two"):
        index = Index(tmp_path / name)
        index.apply(*(records.content(f"p{n}", 1, [records.picture(n)], title=f"t{n % 3}") for n in range(30)))
        manifest = index.compact().manifest
        assert manifest is not None
        facts.append((manifest.files, manifest.digests))
    assert facts[0] == facts[1]


def built_files(index: Index) -> dict[str, Path]:
    head = newest_head(index.store, index.lane, 0)
    assert head is not None
    folder = index.store.local_path(build_key(0, head.build))
    return {path.name: path for path in folder.iterdir()}


def test_a_flipped_byte_in_any_file_is_found(index: Index) -> None:
    index.apply(records.content("p", 1, [RED], attributes={"size": 1}), records.content("q", 1, [RED, -RED]))
    index.compact()
    files = built_files(index)
    assert len(files) == 7
    for name, path in files.items():
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[len(damaged) // 2] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ManifestCorrupt if name == MANIFEST else ChecksumMismatch, match="rollback"):
            index.restored()
        path.write_bytes(whole[:-1])
        with pytest.raises(StorageError):
            index.restored()
        path.unlink()
        with pytest.raises(StorageError):
            index.restored()
        path.write_bytes(whole)
    assert index.restored().view.products == 2


@pytest.mark.parametrize(("found", "way_out"), [(1, "freshlens compact"), (3, "upgrade")])
def test_another_format_is_refused_with_the_way_out(index: Index, found: int, way_out: str) -> None:
    """Whatever else its manifest holds, or lacks."""
    raw = b'{"format": %d}' % found
    index.store.put(build_key(0, "b", MANIFEST), raw)
    with pytest.raises(ManifestCorrupt, match=f"format {found}.*{way_out}"):
        read_manifest(index.store, 0, "b", checksum(raw))


def test_a_head_that_an_unanswered_request_made_is_ours(index: Index) -> None:
    """A remote store may repeat a create whose answer was lost, and then say that the head exists."""
    index.apply(records.content("p", 1, [RED]))
    index.compact()
    head = newest_head(index.store, index.lane, 0)
    assert head is not None
    heads.publish(index.store, index.lane, 0, head)
    with pytest.raises(HeadExists):
        heads.publish(index.store, index.lane, 0, replace(head, build="another"))


def test_a_store_that_fails_leaves_no_half_build(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.apply(records.content("p", 1, [RED]))

    def full(key: str, source: Path) -> None:
        if key.endswith("vectors.f16"):
            raise DiskFull("no room")
        index.store.put(key, source.read_bytes())

    with monkeypatch.context() as patched:
        patched.setattr(index.store, "put_file", full)
        with pytest.raises(DiskFull):
            index.compact()
    assert index.store.list("builds") == []
    assert index.compact().head is not None


def test_a_generation_of_another_space_or_layout_is_refused(index: Index) -> None:
    index.apply(records.content("p", 1, [RED]))
    index.compact()
    head = newest_head(index.store, index.lane, 0)
    assert head is not None
    with pytest.raises(SpaceChanged):
        load_generation(index.store, records.lane_of(Space("tiny-2", 8)), 0, head)
    with pytest.raises(LayoutChanged):
        load_generation(index.store, records.lane_of(partitions=2), 0, head)
    assert digest_of_generation(load_generation(index.store, index.lane, 0, head))


def test_another_log_is_refused(index: Index) -> None:
    index.apply(records.content("p", 1, [RED]))
    index.compact()
    index.log.id = LogId("cluster", "made again")
    with pytest.raises(LogChanged):
        index.restored()


def test_a_log_that_lost_its_end_is_refused(index: Index) -> None:
    index.apply(records.content("p", 1, [RED]))
    index.compact()
    for partition in index.log.records:
        partition.clear()
    with pytest.raises(LogChanged, match="records were lost"):
        index.restored()


def test_without_a_generation_the_log_must_be_whole(index: Index) -> None:
    index.log.begin[1] = 3
    for _ in range(3):
        index.log.append_raw(1, b"")
    with pytest.raises(LogTruncated):
        index.restored()


def test_a_rollback_is_a_new_head_and_loses_nothing(index: Index) -> None:
    index.apply(records.content("old", 1, [RED]))
    index.compact()
    index.apply(records.content("new", 1, [RED]), records.delete("old", 2))
    index.compact()
    head = roll_back(index.log, index.store, index.lane, 0, 1)
    assert head.seq == 3
    assert head.build == heads.read_head(index.store, index.lane, 0, 1).build
    index.replica = index.restored()
    assert index.replica.seq == 3
    assert index.ids(RED) == ["new"]


def test_a_rollback_behind_the_log_is_refused(index: Index) -> None:
    index.apply(*(records.content(f"p{n}", 1, [RED]) for n in range(20)))
    index.compact()
    index.apply(*(records.content(f"p{n}", 2, [RED]) for n in range(20)))
    index.compact()
    index.log.begin = [len(partition) for partition in index.log.records]
    with pytest.raises(LogTruncated):
        roll_back(index.log, index.store, index.lane, 0, 1)
    assert head_numbers(index.store, index.lane, 0) == [1, 2]


def test_nothing_is_compacted_beyond_a_record_of_a_newer_program(index: Index) -> None:
    index.apply(records.content("p", 1, [RED]))
    for partition in range(4):
        index.log.append_raw(partition, b"\xc3\x01" + b"newer...")
    with pytest.raises(LogRecordUnreadable):
        compact_once(index.log, index.store, index.lane, 0)
    replica = index.restored()
    assert replica.blocked is not None
    assert replica.view.products == 1, "what came before it is served"


def test_a_record_that_was_given_up_is_passed_over_everywhere(index: Index) -> None:
    unreadable = index.log.append_raw(0, b"\xc3\x01" + b"newer...")
    index.apply(*(records.content(f"p{n}", 1, [RED]) for n in range(20)))
    assert index.replica.blocked is not None
    assert f"log void 0 {unreadable.offset}" in index.replica.blocked.message
    missing = 20 - index.view.products
    assert missing > 0
    voids = Voids(index.store, index.lane, index.log.id)
    index.replica.retry_blocked()
    assert index.replica.blocked is not None
    assert voids.add(VoidMark(0, unreadable.offset, "a test", 1))
    assert not voids.add(VoidMark(0, unreadable.offset, "again", 2))
    index.replica.retry_blocked()
    index.replica.catch_up(index.log.bounds().end, lambda: False)
    assert index.replica.blocked is None
    assert index.view.products == 20
    index.compact_and_swap()
    assert index.view.products == 20
    assert [mark.reason for mark in voids.all()] == ["a test"]


class Away(FileStore):
    """A store that does not answer while it is ``down``."""

    down = False

    def exists(self, key: str) -> bool:
        if self.down:
            raise StoreUnavailable("no answer")
        return super().exists(key)


def test_while_the_store_is_away_an_unreadable_record_waits_and_the_rest_is_served(tmp_path: Path) -> None:
    store = Away(tmp_path)
    index = Index(store, records.lane_of(partitions=1))
    replica = index.replica
    index.apply(records.content("a", 1, [RED]))
    store.down = True
    unreadable = index.log.append_raw(0, b"\xc3\x01" + b"newer...")
    replica.step(0)
    replica.retry_blocked()
    assert replica.blocked is not None
    assert replica.view.products == 1
    store.down = False
    Voids(store, index.lane, index.log.id).add(VoidMark(0, unreadable.offset, "a test", 1))
    replica.retry_blocked()
    assert replica.blocked is None


def test_a_shard_holds_its_own_partitions_only(tmp_path: Path) -> None:
    lane = records.lane_of(partitions=4, shards=2)
    index = Index(tmp_path, lane)
    index.apply(*(records.content(f"p{n}", 1, [RED]) for n in range(40)))
    assert set(index.view.offsets.applied) == {0, 2}
    other = compact_once(index.log, index.store, lane, 1)
    assert other.manifest is not None
    assert index.view.products + other.manifest.products == 40


def test_a_head_whose_number_was_used_and_removed_is_taken_back(index: Index) -> None:
    """A compactor that slept for days between listing heads and creating its own (HOLES 16)."""
    for version in range(1, 5):
        index.apply(records.content("p", version, [RED]))
        index.compact()
    late = read_head(index.store, index.lane, 0, 2)
    for removed in (1, 2):
        index.store.delete(head_key(index.lane, 0, removed))
    with pytest.raises(HeadExists, match="too late"):
        publish(index.store, index.lane, 0, late)
    assert head_numbers(index.store, index.lane, 0) == [3, 4]
