"""The gate: a build that is not what it must be is kept, said to be rejected, and not served."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from index_nodes.compaction import gate, publication
from index_nodes.compaction.build import Built, write_generation
from index_nodes.compaction.compaction import compact_once
from index_nodes.compaction.inventory import read_inventory
from index_nodes.compaction.publication import accept
from index_nodes.compaction.report import Report, report_keys
from index_nodes.generations.generation import VECTORS
from index_nodes.generations.heads import head_numbers, newest_head, reject, rejected_in_a_row, rejections
from index_nodes.generations.manifest import Manifest, build_key, check_files
from index_nodes.states import GenerationState
from schemas.clock import ManualClock
from schemas.errors import BuildRejected, ChecksumMismatch, HeadExists, LogTruncated, ManifestCorrupt
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from topics.store import ObjectStore

CLOCK = ManualClock()


def filled(index: Index, first: int = 0) -> None:
    index.apply(*(records.content(f"p{n}", 1, [records.picture(n)]) for n in range(first, first + 40)))


def rejected(index: Index, monkeypatch: pytest.MonkeyPatch, clock: ManualClock = CLOCK) -> str:
    """A build whose recall is bad, and its name."""
    with monkeypatch.context() as patched:
        patched.setattr(gate, "RECALL_FLOOR", 1.1)
        with pytest.raises(BuildRejected, match="of the ten nearest"):
            compact_once(index.log, index.store, index.lane, 0, clock=clock)
    return rejections(index.store, index.lane, 0)[-1].build


def test_vectors_under_the_wrong_products_are_found(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every count, state and checksum is right, and yet each product has the picture of another."""

    def shuffled(*arguments: object) -> Built:
        built = write_generation(*arguments)  # type: ignore[arg-type]
        path = arguments[2] / VECTORS  # type: ignore[operator]
        vectors = np.fromfile(path, np.float16).reshape(-1, 8)
        np.roll(vectors, 1, axis=0).tofile(path)
        return built

    filled(index)
    monkeypatch.setattr("index_nodes.compaction.compaction.write_generation", shuffled)
    with pytest.raises(BuildRejected, match="answers 40 of 40 exact queries otherwise"):
        index.compact()
    assert head_numbers(index.store, index.lane, 0) == []


@pytest.mark.parametrize(
    ("after", "agree"),
    [
        ([("a", 0.9), ("b", 0.8), ("c", 0.8)], True),
        ([("a", 0.900001), ("b", 0.8), ("d", 0.8)], True),
        ([("a", 0.9), ("b", 0.8)], False),
        ([("x", 0.9), ("b", 0.8), ("c", 0.8)], False),
        ([("a", 0.9), ("b", 0.8), ("c", 0.7)], False),
    ],
)
def test_exact_answers_agree_but_for_rounding_and_the_last_ties(after: list[tuple[str, float]], agree: bool) -> None:
    assert gate._agree([("a", 0.9), ("b", 0.8), ("c", 0.8)], after) is agree
    assert gate._agree([], [])


def test_a_build_that_finds_less_than_what_is_served_is_rejected() -> None:
    worse = gate.Answers(queries=64, served=0.98, built=0.92)
    assert list(gate._answer_reasons(worse, 0.05))
    assert not list(gate._answer_reasons(msgspec.structs.replace(worse, built=0.94), 0.05))


def test_a_dropped_view_or_product_is_counted(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:

    filled(index)
    compaction = index.compact()
    assert compaction.manifest is not None
    written = index.restored()
    try:
        view = replace(index.view, slots=41)
        verdict = gate.judge(written.view.generation, compaction.manifest, view, index.lane, 0.05)
    finally:
        written.close()
    assert "40 slots" in verdict.reasons[0]
    assert "41" in verdict.reasons[0]


def test_a_rejected_build_is_kept_and_what_is_served_stays(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(index)
    index.compact()
    filled(index, 40)
    build = rejected(index, monkeypatch)
    inventory = read_inventory(index.store, index.lane, 0)
    assert inventory.state_of(build) is GenerationState.REJECTED
    assert [head.seq for head in inventory.heads] == [1]
    report = msgspec.json.decode(index.store.get(report_keys(index.lane, 0, build)[0]), type=Report)
    assert report.seq is None
    assert "of the ten nearest" in report.rejected[0]
    assert b"of the ten nearest" in index.store.get(report_keys(index.lane, 0, build)[1])
    rejected(index, monkeypatch)
    found = rejections(index.store, index.lane, 0)
    assert rejected_in_a_row(found, newest_head(index.store, index.lane, 0)) == 2
    index.compact()
    assert rejected_in_a_row(found, newest_head(index.store, index.lane, 0)) == 0


def test_a_rejected_build_is_published_by_hand(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(index)
    build = rejected(index, monkeypatch)
    head = accept(index.log, index.store, index.lane, 0, build[:20], "the sample is odd", clock=CLOCK)
    assert (head.seq, head.build, head.reason) == (1, build, "accepted: the sample is odd")
    inventory = read_inventory(index.store, index.lane, 0)
    assert inventory.state_of(build) is GenerationState.ACTIVE
    replica = index.restored()
    assert (replica.seq, replica.view.products) == (1, 40)
    replica.close()


def test_a_build_is_not_accepted_if_another_was_rejected_while_it_was_checked(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of rejected builds the oldest go."""
    filled(index)
    build = rejected(index, monkeypatch)

    def slow(store: ObjectStore, manifest: Manifest) -> Path:
        folder = check_files(store, manifest)
        (found,) = rejections(store, index.lane, 0)
        later = msgspec.structs.replace(found, build="later", rejected_at_us=found.rejected_at_us + 1)
        reject(store, index.lane, 0, later)
        return folder

    monkeypatch.setattr(publication, "check_files", slow)
    with pytest.raises(BuildRejected, match="another build was rejected"):
        accept(index.log, index.store, index.lane, 0, build, "because", clock=CLOCK)
    assert head_numbers(index.store, index.lane, 0) == []


def test_what_is_accepted_must_still_fit(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(index)
    build = rejected(index, monkeypatch)

    def accepted(name: str = build, clock: ManualClock = CLOCK) -> None:
        accept(index.log, index.store, index.lane, 0, name, "because", clock=clock)

    for name in ("", "no such build"):
        with pytest.raises(ManifestCorrupt, match="0 rejected builds"):
            accepted(name)
    with pytest.raises(BuildRejected, match="hours old"):
        accepted(clock=ManualClock(CLOCK.now_us() + 13 * 3_600_000_000))
    begin, index.log.begin = index.log.begin, [len(partition) + 1 for partition in index.log.records]
    with pytest.raises(LogTruncated):
        accepted()
    index.log.begin = begin
    key = build_key(0, build, VECTORS)
    whole = index.store.get(key)
    index.store.put(key, whole[:-1])
    with pytest.raises(ChecksumMismatch):
        accepted()
    index.store.put(key, whole)
    index.compact()
    with pytest.raises(HeadExists):
        accepted()
    assert head_numbers(index.store, index.lane, 0) == [1]
