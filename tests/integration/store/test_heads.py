"""Publishing on each kind of store: one chain of whole generations, whoever dies and wherever (HOLES 16, 29)."""

import shutil
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from index_nodes.compaction.compaction import compact_once
from index_nodes.compaction.publication import roll_back
from index_nodes.generations.heads import head_numbers, newest_head, read_head
from index_nodes.generations.manifest import MANIFEST, build_key
from index_nodes.replicas.serving import Serving
from index_nodes.rows.graph import InlineBuilder
from index_nodes.settings import NodeSettings
from schemas.clock import SystemClock
from schemas.errors import ChecksumMismatch, DiskFull, HeadExists, ManifestCorrupt, TransientError
from tests.integration.store.s3_server import App, Environ, Fault, S3Server, answer_lost_once, refused
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from topics.s3_store import S3Store
from topics.settings import KafkaSettings
from topics.store import ObjectStore

RED = records.picture(1)
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def index(store: ObjectStore) -> Iterator[Index]:
    made = Index(store)
    yield made
    made.replica.close()


def ids(index: Index) -> list[str]:
    """What a node finds that starts now."""
    replica = index.restored()
    view = replica.view
    replica.close()
    return sorted(view.keys.key(slot).product_id for slot in range(view.slots) if view.state(slot).is_visible)


def check_chain(index: Index, length: int) -> None:
    """The heads are 1 to ``length``, and each can be served."""
    assert head_numbers(index.store, index.lane, 0) == list(range(1, length + 1))
    for seq in range(1, length + 1):
        replica = index.restored(read_head(index.store, index.lane, 0, seq))
        assert replica.seq == seq
        replica.close()


def test_the_index_lives_on_any_store(index: Index) -> None:
    index.apply(records.content("p", 1, [RED, -RED], title="red"), records.content("q", 1, [RED]))
    index.compact_and_swap()
    index.apply(records.delete("q", 2), records.offer("p", 1, 9.5), records.content("r", 1, [records.picture(2)]))
    assert sorted(index.ids(RED)) == ["p", "r"]
    index.compact_and_swap()
    assert sorted(index.ids(RED)) == ["p", "r"]
    index.apply(records.content("s", 1, [RED]))
    assert roll_back(index.log, index.store, index.lane, 0, 1).seq == 3
    index.replica = index.restored()
    assert index.replica.seq == 3
    assert sorted(index.ids(RED)) == ["p", "r", "s"], "what was deleted since stays so"
    index.compact_and_swap()
    assert sorted(index.ids(RED)) == ["p", "r", "s"]
    check_chain(index, 4)


class Meeting:
    """A store for one of several compactors, which all come to the commit before any of them commits."""

    def __init__(self, store: ObjectStore, barrier: threading.Barrier) -> None:
        self._store, self._barrier = store, barrier

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        if key.startswith("heads/"):
            self._barrier.wait(60)
        return self._store.put_if_absent(key, data)


def test_of_racing_compactors_one_publishes(index: Index) -> None:
    index.apply(*(records.content(f"p{n}", 1, [records.picture(n)]) for n in range(20)))
    barrier = threading.Barrier(3)
    ends: list[str] = []

    def compact() -> None:
        try:
            report = compact_once(index.log, Meeting(index.store, barrier), index.lane, 0)
            ends.append("published" if report.head else "nothing new")
        except HeadExists:
            ends.append("overtaken")

    threads = [threading.Thread(target=compact) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["overtaken", "overtaken", "published"]
    check_chain(index, 1)
    head = newest_head(index.store, index.lane, 0)
    assert head is not None
    assert {key.split("/")[2] for key in index.store.list("builds")} == {head.build}, "the losers dropped theirs"
    assert len(ids(index)) == 20


class Death(BaseException):
    """The process is gone: nothing of it runs on."""


class Mortal:
    """A store for a compactor that dies when it comes to a further effect."""

    def __init__(self, store: ObjectStore, effects: int) -> None:
        self._store, self.effects = store, effects

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name in ("put", "put_if_absent", "put_file", "delete"):
            return self._mortal(method)
        return method

    def _mortal(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def effect(*arguments: Any) -> Any:
            if self.effects == 0:
                raise Death
            self.effects -= 1
            return method(*arguments)

        return effect


def deaths(index: Index, compact: Callable[[int], bool]) -> Iterator[int]:
    """Let a compactor die after 0, 1, 2, … effects, until one does not; each starts with something new in the log."""
    effects = 0
    while True:
        index.apply(records.content(f"p{effects}", 1, [records.picture(effects)]), records.delete(f"p{effects - 5}", 2))
        if not compact(effects):
            return
        yield effects
        effects += 1


def check_after_death(index: Index, expected: list[str]) -> None:
    """What is served is whole, and the next compaction goes on from it."""
    numbers = head_numbers(index.store, index.lane, 0)
    assert ids(index) == expected
    index.compact()
    assert head_numbers(index.store, index.lane, 0)[: len(numbers)] == numbers
    assert ids(index) == expected


def alive_after(effects: int) -> list[str]:
    return sorted(f"p{number}" for number in range(max(0, effects - 4), effects + 1))


def test_a_compactor_may_die_between_any_two_effects(index: Index) -> None:
    def compact(effects: int) -> bool:
        try:
            compact_once(index.log, Mortal(index.store, effects), index.lane, 0)
        except Death:
            return True
        return False

    survived = [effects for effects in deaths(index, compact) if check_after_death(index, alive_after(effects)) is None]
    assert len(survived) >= 8, "six files, the manifest, the head"
    check_chain(index, len(head_numbers(index.store, index.lane, 0)))


def gone_after(writes: int) -> Fault:
    """The server does so many writes, and then nothing any more."""
    left = writes

    def fault(server: App, environ: Environ, start: Callable[..., Any]) -> Any:
        nonlocal left
        left -= environ["REQUEST_METHOD"] != "GET"
        return (server if left >= 0 else partial(refused("503 Service Unavailable"), server))(environ, start)

    return fault


def test_a_bucket_may_go_away_at_any_write(s3_server: S3Server, s3_store: S3Store) -> None:
    index = Index(s3_store)

    def compact(writes: int) -> bool:
        try:
            with s3_server.misbehaving(gone_after(writes)):
                index.compact()
        except TransientError:
            return True
        return False

    survived = [writes for writes in deaths(index, compact) if check_after_death(index, alive_after(writes)) is None]
    assert len(survived) >= 8
    check_chain(index, len(head_numbers(index.store, index.lane, 0)))
    index.replica.close()


def test_an_answer_that_is_lost_loses_no_generation(s3_server: S3Server, patient_store: S3Store) -> None:
    """The client asks again, and its own head is in the way: dropping the build would leave a head without one."""
    index = Index(patient_store)
    index.apply(records.content("p", 1, [RED]))

    class LosingTheAnswer(Meeting):
        def put_if_absent(self, key: str, data: bytes) -> bool:
            with s3_server.misbehaving(answer_lost_once()):
                return self._store.put_if_absent(key, data)

    report = compact_once(index.log, LosingTheAnswer(patient_store, threading.Barrier(1)), index.lane, 0)
    assert report.head is not None
    check_chain(index, 1)
    assert ids(index) == ["p"]
    index.replica.close()


# --- Nodes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def node(index: Index) -> Iterator[Serving]:
    yield from serving(index)


def serving(index: Index) -> Iterator[Serving]:
    """Serves head 1, in which p is found; q came since."""
    index.apply(records.content("p", 1, [RED]))
    index.compact()
    settings = NodeSettings(KafkaSettings("nowhere:1"), index.lane, "unused")
    made = Serving(settings, index.log, index.store, SystemClock(), index.metrics, new_builder=InlineBuilder)
    made.open()
    while not made.answers:
        made.step(0)
    index.apply(records.content("q", 1, [RED]))
    yield made
    made.close()


def served(node: Serving) -> int:
    node.look_for_head()
    node.step(0)
    assert node.replica is not None
    assert node.replica.view.products == 2
    return node.replica.seq


def test_a_head_whose_compactor_died_at_once_is_taken_over(index: Index, node: Serving) -> None:
    class DiesHavingPublished(Mortal):
        def put_if_absent(self, key: str, data: bytes) -> bool:
            created = self._store.put_if_absent(key, data)
            if key.startswith("heads/"):
                raise Death
            return created

    with pytest.raises(Death):
        compact_once(index.log, DiesHavingPublished(index.store, 99), index.lane, 0)
    assert served(node) == 2


def test_a_torn_upload_is_never_loaded(index: Index, node: Serving) -> None:
    index.compact()
    head = newest_head(index.store, index.lane, 0)
    assert head is not None
    keys = index.store.list(build_key(0, head.build))
    whole = {key: index.store.get(key) for key in keys}
    torn = [key for key in keys if whole[key]]
    assert len(torn) >= 6
    for key in torn:
        index.store.put(key, whole[key][:-1])
        forget_copies(index.store)
        with pytest.raises(ManifestCorrupt if key.endswith(MANIFEST) else ChecksumMismatch, match="rollback"):
            index.restored()
        index.store.delete(key)
        with pytest.raises(ManifestCorrupt if key.endswith(MANIFEST) else ChecksumMismatch, match="rollback"):
            index.restored()
        index.store.put(key, whole[key])
    index.store.put(torn[0], b"torn")
    assert served(node) == 1, "refused, and what was served before is served on"
    index.store.put(torn[0], whole[torn[0]])
    assert index.restored().seq == 2


def forget_copies(store: ObjectStore) -> None:
    if isinstance(store, S3Store):
        shutil.rmtree(store._copies._root, ignore_errors=True)


# --- Nodes of a bucket ---------------------------------------------------------------------------------------


@pytest.fixture
def far_index(s3_store: S3Store) -> Iterator[Index]:
    made = Index(s3_store)
    yield made
    made.replica.close()


@pytest.fixture
def far_node(far_index: Index) -> Iterator[Serving]:
    yield from serving(far_index)


def test_a_bucket_that_is_away_stops_no_node(s3_server: S3Server, far_index: Index, far_node: Serving) -> None:
    far_index.compact()
    with s3_server.misbehaving(refused("403 Forbidden")), pytest.raises(TransientError):
        far_node.look_for_head()
    assert served(far_node) == 2, "when it is back"


def test_without_room_for_a_copy_a_node_serves_on(
    far_index: Index, far_node: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    far_index.compact()
    forget_copies(far_index.store)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 0))
        assert served(far_node) == 1
        with pytest.raises(DiskFull, match="make room"):
            far_index.restored()
    refused_full = ("freshlens_generations_refused_total", (("code", "disk-full"),))
    assert far_index.metrics.values[refused_full] == 1
    assert served(far_node) == 2, "when there is room"


def test_copies_that_are_gone_do_not_hurt_who_maps_them(far_index: Index, far_node: Serving) -> None:
    far_index.compact()
    assert served(far_node) == 2
    assert far_node.replica is not None
    view = far_node.replica.view
    before = [bytes(view.generation.raw_state(slot)) for slot in range(view.generation.slots)]
    forget_copies(far_index.store)
    assert [bytes(view.generation.raw_state(slot)) for slot in range(view.generation.slots)] == before
    assert far_index.restored().seq == 2, "downloaded again"
