"""New rows as codes: nearly the same answers as a scan of full vectors, of the rows that a view has and no others."""

import threading
from typing import Any

import numpy as np
import pytest

from index_nodes.generations import ivf
from index_nodes.rows import tail
from index_nodes.rows.exact import ExactRows
from index_nodes.rows.passing import Passing
from index_nodes.rows.tail import Block, OpenTail
from schemas.embeddings import Vector

DIM, ROWS, K = 32, 3_000, 10


def _unit(rows: Vector) -> Vector:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _clustered(random: np.random.Generator, centres: Vector, count: int) -> Vector:
    chosen = centres[random.integers(0, len(centres), count)]
    return _unit(chosen + 0.6 * random.standard_normal(chosen.shape) / np.sqrt(DIM))


@pytest.fixture(scope="module")
def world() -> tuple[Any, Vector, Vector]:
    """A generation's codebook, new rows that are like its own, and queries."""
    random = np.random.default_rng(3)
    centres = _unit(random.standard_normal((200, DIM)))
    index, facts = ivf.build(_clustered(random, centres, ivf.FLAT_ROWS_MAX + 1_000).astype(np.float16))
    codebook = ivf.IvfIndex(index, facts, ExactRows(np.empty((0, DIM), np.float16))).codebook
    return codebook, _clustered(random, centres, ROWS), _clustered(random, centres, 100)


def filled(codebook: Any, rows: Vector) -> OpenTail:
    new = OpenTail(0, DIM, 4_096, codebook)
    for row in rows:
        new.append(row.astype(np.float16))
    return new


def everything(block: Block) -> Passing:
    return Passing(np.ones(len(block), np.bool_))


def recall(block: Block, queries: Vector, passing: Passing) -> float:
    found = [block.search(query, K, passing).rows[:K] for query in queries]
    truth = [block.exact.search(query, K, passing).rows[:K] for query in queries]
    return float(np.mean([len(set(one) & set(other)) / len(other) for one, other in zip(found, truth, strict=True)]))


def test_most_rows_are_coded_and_the_best_are_found(world: tuple[Any, Vector, Vector]) -> None:
    codebook, rows, queries = world
    block = filled(codebook, rows).captured()
    assert block.coded is not None
    assert len(block.coded) == ROWS // tail.CODED_AT_ONCE * tail.CODED_AT_ONCE
    assert recall(block, queries, everything(block)) >= 0.98
    newest = block.search(rows[-1], 1, everything(block))  # one that is not coded yet
    assert newest.rows[0] == ROWS - 1
    assert list(newest.scores) == sorted(newest.scores, reverse=True)


def test_scores_are_those_of_full_vectors(world: tuple[Any, Vector, Vector]) -> None:
    codebook, rows, queries = world
    block = filled(codebook, rows).captured()
    found = block.search(queries[0], K, everything(block))
    assert np.allclose(found.scores, block.vectors[found.rows].astype(np.float32) @ queries[0], atol=1e-5)


def test_a_captured_block_never_changes(world: tuple[Any, Vector, Vector]) -> None:
    codebook, rows, queries = world
    new = filled(codebook, rows[:2_100])
    block = new.captured()
    before = block.search(queries[0], K, everything(block)).rows.tolist()
    for row in [queries[0]] * 1_000:  # the very best, and enough of them to be coded
        new.append(row.astype(np.float16))
    later = new.captured()
    assert later.coded is not None
    assert block.coded is not None
    assert len(later.coded) > len(block.coded)
    assert block.search(queries[0], K, everything(block)).rows.tolist() == before
    assert min(later.search(queries[0], K, everything(later)).rows) >= 2_100


@pytest.mark.parametrize("share", [0.9, 0.6, 0.2, 0.001])
def test_whoever_does_not_pass_is_not_found(world: tuple[Any, Vector, Vector], share: float) -> None:
    codebook, rows, queries = world
    block = filled(codebook, rows).captured()
    passing = Passing(np.random.default_rng(5).random(ROWS) < share)
    for query in queries[:20]:
        found = block.search(query, K, passing).rows
        assert passing.mask[found].all()
        assert len(found) >= min(K, passing.count)
    assert recall(block, queries, passing) >= 0.95


def test_as_many_as_are_asked_for_are_found(world: tuple[Any, Vector, Vector]) -> None:
    codebook, rows, queries = world
    block = filled(codebook, rows).captured()
    for wanted in (1, 100, 1_500, ROWS):
        assert len(set(block.search(queries[0], wanted, everything(block)).rows.tolist())) >= wanted


def test_without_a_codebook_nothing_is_coded(world: tuple[Any, Vector, Vector]) -> None:
    _, rows, queries = world
    block = filled(None, rows).captured()
    assert block.coded is None
    assert recall(block, queries, everything(block)) == 1.0


def test_rows_that_are_added_during_searches_are_of_later_blocks_only(world: tuple[Any, Vector, Vector]) -> None:
    codebook, rows, queries = world
    new = filled(codebook, rows[:500])
    best = queries[0].astype(np.float16)
    writer = threading.Thread(target=lambda: [new.append(best) for _ in range(3_000)])
    writer.start()
    seen = set()
    while writer.is_alive() or len(seen) < 2:
        block = new.captured()
        found = block.search(queries[0], K, everything(block)).rows
        assert len(found) >= K
        assert max(found) < len(block)
        seen.add(len(block))
    writer.join()


def test_a_block_from_before_finds_what_it_had_among_many_newer_and_better_rows(
    world: tuple[Any, Vector, Vector],
) -> None:
    _, rows, queries = world
    new = filled(None, rows[:40])
    block = new.captured()
    before = block.search(queries[0], K, everything(block)).rows.tolist()
    for _ in range(2_000):
        new.append(queries[0].astype(np.float16))
    assert block.search(queries[0], K, everything(block)).rows.tolist() == before
    half = Passing(np.arange(40) % 2 == 0)
    assert set(block.search(queries[0], K, half).rows.tolist()) <= set(range(0, 40, 2))


def test_a_block_that_is_coded_to_its_end_is_sealed_and_searched(world: tuple[Any, Vector, Vector]) -> None:
    codebook, rows, queries = world
    new = OpenTail(0, DIM, 2 * tail.CODED_AT_ONCE, codebook)
    for row in rows[: 2 * tail.CODED_AT_ONCE]:
        new.append(row.astype(np.float16))
    block = new.seal()
    assert len(block.coded or ()) == len(block)
    assert recall(block, queries, everything(block)) >= 0.98
