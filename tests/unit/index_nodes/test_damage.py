"""Damage of every kind: a named error that says what to do, and never a wrong answer (HOLES 5, 16, 29)."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from index_nodes.compaction.compaction import compact_once
from index_nodes.compaction.publication import roll_back
from index_nodes.generations import ivf
from index_nodes.generations.heads import head_key, head_numbers, read_head
from index_nodes.generations.manifest import MANIFEST, build_key
from index_nodes.replicas.serving import Serving
from index_nodes.rows.graph import InlineBuilder
from index_nodes.settings import NodeSettings
from index_nodes.states import NodeState
from schemas.clock import SystemClock
from schemas.errors import ChecksumMismatch, DiskFull, LogChanged, LogTruncated, ManifestCorrupt, StorageError
from schemas.layout import LogId
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from topics.settings import KafkaSettings
from topics.store import FileStore

RED = records.picture(1)
LARGE = ivf.FLAT_ROWS_MAX + 100
"""Rows for which a generation has an index."""


def fill(index: Index, count: int) -> None:
    index.apply(
        *(records.content(f"p{n}", 1, [records.picture(n)], title=f"t{n % 3}") for n in range(count)),
        records.content("two", 1, [RED, -RED], attributes={"size": 1}),
        records.content("gone", 1, [RED]),
        records.delete("gone", 2),
    )


@pytest.fixture(scope="module")
def large_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """A published generation with every kind of file."""
    index = Index(tmp_path_factory.mktemp("large"), block_rows=1024)
    fill(index, LARGE)
    index.compact_and_swap()
    yield index
    index.replica.close()


def files_of(index: Index, seq: int = 1) -> dict[str, Path]:
    head = read_head(index.store, index.lane, 0, seq)
    folder = index.store.local_path(build_key(0, head.build))
    return {path.name: path for path in folder.iterdir()}


FILES = (
    MANIFEST, "products.arrow", "keys.arrow", "tenants.arrow", "extra-rows.arrow", "fields.arrow", "vectors.f16",
    "index.faiss",
)  # fmt: skip


def test_every_kind_of_file_is_damaged_here(large_store: Index) -> None:
    assert set(files_of(large_store)) == set(FILES)


def with_bit_flipped(whole: bytes, place: int) -> bytes:
    damaged = bytearray(whole)
    damaged[place] ^= 1 << (place % 8)
    return bytes(damaged)


@pytest.mark.parametrize("name", FILES)
def test_damage_of_any_file_is_refused(large_store: Index, name: str) -> None:
    path = files_of(large_store)[name]
    whole = path.read_bytes()
    places = {0, len(whole) - 1, *np.random.default_rng(5).integers(len(whole), size=4).tolist()}
    damages = [with_bit_flipped(whole, place) for place in sorted(places)]
    damages += [whole[:-1], whole[: len(whole) // 2], b"", whole + b"\0"]
    error = ManifestCorrupt if name == MANIFEST else ChecksumMismatch
    try:
        for damaged in damages:
            path.write_bytes(damaged)
            with pytest.raises(error, match="freshlens generations rollback"):
                large_store.restored()
        path.unlink()
        with pytest.raises(error, match="freshlens generations rollback"):
            large_store.restored()
    finally:
        path.write_bytes(whole)
    replica = large_store.restored()
    assert replica.view.products == LARGE + 1
    replica.close()


def test_what_is_mapped_is_served_on_though_its_files_are_gone(large_store: Index, tmp_path: Path) -> None:
    """They are unlinked or replaced by name, never truncated."""
    shutil.copytree(large_store.store.root, tmp_path / "copy")
    index = Index(tmp_path / "unused", block_rows=1024)
    index.log, index.store = large_store.log, FileStore(tmp_path / "copy")
    index.replica = index.restored()
    before = [index.search(records.picture(n), 5).hits for n in range(50)]
    build = read_head(index.store, index.lane, 0, 1).build
    for name, path in files_of(index).items():
        index.store.put(build_key(0, build, name), b"other bytes")
        path.unlink()
    assert [index.search(records.picture(n), 5).hits for n in range(50)] == before
    assert "gone" not in index.ids(RED, LARGE)
    with pytest.raises(ManifestCorrupt):
        index.restored()
    index.replica.close()


HEADS = {
    "empty": b"",
    "no JSON": b"\0\xff garbage",
    "half": b'{"seq": 2, "build": "x", "manifest_ch',
    "another type": b"[1, 2]",
    "of another number": b'{"seq":3,"build":"x","manifest_checksum":"y","next_offsets":{},"log_id":"a/b","reason":"",'
    b'"created_at_us":1}',
}


@pytest.mark.parametrize("raw", HEADS.values(), ids=HEADS)
def test_a_head_of_garbage_is_refused_and_rolled_back(index: Index, raw: bytes) -> None:
    index.apply(records.content("p", 1, [RED]))
    index.compact()
    index.store.put(head_key(index.lane, 0, 2), raw)
    with pytest.raises(ManifestCorrupt, match="freshlens generations rollback"):
        index.restored()
    with pytest.raises(ManifestCorrupt, match="freshlens generations rollback"):
        index.compact()
    assert roll_back(index.log, index.store, index.lane, 0, 1).seq == 3
    assert index.restored().view.products == 1
    index.apply(records.content("q", 1, [RED]))
    index.compact()
    assert head_numbers(index.store, index.lane, 0) == [1, 2, 3, 4]


@pytest.mark.parametrize("lost", ["all", MANIFEST])
def test_a_head_without_its_build_is_refused(index: Index, lost: str) -> None:
    index.apply(records.content("p", 1, [RED]))
    index.compact()
    for name, path in files_of(index).items():
        if lost in ("all", name):
            path.unlink()
    with pytest.raises(ManifestCorrupt, match=r"not in the store: restore it, or `freshlens generations rollback`"):
        index.restored()


def remake(index: Index) -> None:
    index.log.id = LogId("cluster", "made again")


def lose_the_end(index: Index) -> None:
    for partition in index.log.records:
        partition.clear()


def truncate(index: Index) -> None:
    for partition, entries in enumerate(index.log.records):
        index.log.append_raw(partition, b"")
        index.log.begin[partition] = len(entries)


LOGS: dict[str, tuple[Callable[[Index], None], type[StorageError], str]] = {
    "another log": (remake, LogChanged, "right cluster"),
    "shorter than what was read": (lose_the_end, LogChanged, "records were lost; point to the right cluster"),
    "truncated beyond where we go on": (truncate, LogTruncated, "restore a newer generation"),
}


@pytest.mark.parametrize(("damage", "error", "way_out"), LOGS.values(), ids=LOGS)
def test_a_log_that_does_not_continue_the_generation_is_refused(
    index: Index, damage: Callable[[Index], None], error: type[StorageError], way_out: str
) -> None:
    index.apply(*(records.content(f"p{n}", 1, [RED]) for n in range(20)))
    index.compact()
    damage(index)
    for attempt in (index.restored, index.compact, lambda: roll_back(index.log, index.store, index.lane, 0, 1)):
        with pytest.raises(error, match=way_out):
            attempt()
    assert head_numbers(index.store, index.lane, 0) == [1]


# --- A node that serves: a damaged head is refused, the one before is served on ----------------------------


@pytest.fixture
def node(index: Index) -> Iterator[Serving]:
    """Serves head 1 of the index, in which p and q are found."""
    index.apply(records.content("p", 1, [RED]), records.content("q", 1, [RED]))
    index.compact()
    yield from serving(index)


def serving(index: Index) -> Iterator[Serving]:
    settings = NodeSettings(KafkaSettings("nowhere:1"), index.lane, "unused")
    node = Serving(
        settings, index.log, index.store, SystemClock(), index.metrics, new_builder=InlineBuilder, block_rows=16
    )
    node.open()
    while not node.answers:
        node.step(0)
    assert node.state is NodeState.SERVING
    yield node
    node.close()


def found(node: Serving) -> list[str]:
    assert node.replica is not None
    view = node.replica.view
    return sorted(view.keys.key(slot).product_id for slot in range(view.slots) if view.state(slot).is_visible)


def refusals(index: Index, code: str) -> float:
    return index.metrics.values.get(("freshlens_generations_refused_total", (("code", code),)), 0)


def delete_q_and_compact(index: Index, node: Serving) -> None:
    """Head 2, which the node is to take over; the delete reaches the node by the log alone."""
    index.apply(records.delete("q", 2))
    index.compact()
    node.step(0)
    assert found(node) == ["p"]


def damage_file(index: Index) -> None:
    path = files_of(index, 2)["vectors.f16"]
    path.write_bytes(with_bit_flipped(path.read_bytes(), 3))


def cut_file(index: Index) -> None:
    path = files_of(index, 2)["products.arrow"]
    path.write_bytes(path.read_bytes()[:-8])


def lose_build(index: Index) -> None:
    for path in files_of(index, 2).values():
        path.unlink()


def garble_head(index: Index) -> None:
    index.store.put(head_key(index.lane, 0, 2), b"garbage")


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (damage_file, "checksum-mismatch"),
        (cut_file, "checksum-mismatch"),
        (lose_build, "manifest-corrupt"),
        (garble_head, "manifest-corrupt"),
    ],
)
def test_a_node_refuses_a_damaged_head_and_serves_on(
    index: Index, node: Serving, damage: Callable[[Index], None], code: str
) -> None:
    delete_q_and_compact(index, node)
    damage(index)
    for _ in range(3):
        node.look_for_head()
        node.step(0)
    assert refusals(index, code) == 1, "said once, not at every look"
    assert node.replica is not None
    assert (node.state, node.replica.seq) == (NodeState.SERVING, 1)
    index.apply(records.content("r", 1, [RED]))
    node.step(0)
    assert found(node) == ["p", "r"], "fresh, and what was deleted stays so"
    roll_back(index.log, index.store, index.lane, 0, 1)
    node.look_for_head()
    node.step(0)
    assert node.replica.seq == 3
    assert found(node) == ["p", "r"], "the older generation, and what was deleted since stays so"


def test_a_node_without_room_tries_again(index: Index, node: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    delete_q_and_compact(index, node)

    def full(*_: object) -> Path:
        raise DiskFull("no room: make room")

    with monkeypatch.context() as patch:
        patch.setattr(index.store, "local_folder", full)
        for _ in range(2):
            node.look_for_head()
            node.step(0)
    assert refusals(index, "disk-full") == 2
    assert node.replica is not None
    assert (node.replica.seq, found(node)) == (1, ["p"])
    node.look_for_head()
    node.step(0)
    assert (node.replica.seq, found(node)) == (2, ["p"])


# --- A full disk while a generation is made ----------------------------------------------------------------


def test_a_disk_that_fills_up_while_building_ends_the_compaction(tmp_path: Path) -> None:
    """In a process that may write so many bytes to a file: each file in turn is the one that has no room."""
    program = f"""
import resource, tempfile
from pathlib import Path
from index_nodes.generations import ivf
from schemas.errors import DiskFull
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from tests.unit.index_nodes.test_damage import fill, files_of

def limit(file_bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))

ivf.FLAT_ROWS_MAX = 1000
folder = Path({str(tmp_path)!r})
tempfile.tempdir = str(folder)
index = Index(folder / "store", block_rows=1024)
fill(index, 1500)
index.compact()
kept = index.store.list()
index.apply(records.content("one more", 1, [records.picture(9999)]))
for size in sorted(path.stat().st_size for path in files_of(index).values()):
    limit(size - 1)
    try:
        index.compact()
    except DiskFull as error:
        print(error.code, error.message)
    limit(resource.RLIM_INFINITY)
    assert index.store.list() == kept
assert not [path for path in folder.rglob("*") if ".tmp-" in path.name or "freshlens-build-" in path.name]
index.compact()
print("done", index.restored().view.products)
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    lines = [line for line in ended.stdout.splitlines() if not line.startswith("20")]  # the log's begin with a date
    assert lines[-1] == "done 1502"
    assert len(lines) == 9
    assert all(line.startswith("disk-full no room to write ") and "make room" in line for line in lines[:-1])


class FullStore(FileStore):
    """Has room for so many files."""

    room = 1 << 30

    def put_file(self, key: str, source: Path) -> None:
        if self.room == 0:
            raise DiskFull("no room")
        self.room -= 1
        super().put_file(key, source)


@pytest.mark.parametrize("room", range(6))
def test_a_store_that_fills_up_keeps_nothing_of_the_build(tmp_path: Path, room: int) -> None:
    store = FullStore(tmp_path)
    index = Index(store)
    index.apply(records.content("p", 1, [RED]))
    store.room = room
    with pytest.raises(DiskFull):
        index.compact()
    assert store.list() == []
    store.room = 1 << 30
    assert compact_once(index.log, store, index.lane, 0).head is not None
    index.replica.close()
