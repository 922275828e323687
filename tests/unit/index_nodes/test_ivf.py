"""The IVF index: equal input gives equal files, a codebook is used again, plans keep recall under any filter."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from index_nodes.generations import ivf
from index_nodes.rows.exact import ExactRows
from index_nodes.rows.passing import LatePassing, Passing
from schemas.embeddings import Vector

ROWS, DIM = 12_000, 32


CENTRES = np.random.default_rng(99).standard_normal((150, DIM))


def clustered(seed: int, rows: int = ROWS, centres: npt.NDArray[np.float64] = CENTRES) -> npt.NDArray[np.float16]:
    """(rows, DIM) of unit norm around centres."""
    random = np.random.default_rng(seed)
    vectors = centres[random.integers(0, len(centres), rows)] + 0.8 * random.standard_normal((rows, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ivf.IvfIndex:
    vectors = clustered(1)
    index, facts = ivf.build(vectors)
    path = tmp_path_factory.mktemp("ivf") / "index.faiss"
    ivf.save(index, path)
    return ivf.load(path, facts, ExactRows(vectors))


def recall(index: ivf.IvfIndex, queries: Vector, mask: npt.NDArray[np.bool_]) -> float:
    hits = 0
    for query in queries:
        true = index.exact.search(query, 10, Passing(mask)).rows[:10]
        found = index.search(query, 10, Passing(mask)).rows
        assert len(found) >= 10
        assert mask[found].all()
        hits += len(np.intersect1d(true, found[:10]))
    return hits / (10 * len(queries))


def test_equal_input_gives_equal_files(made: ivf.IvfIndex, tmp_path: Path) -> None:
    index, facts = ivf.build(clustered(1))
    ivf.save(index, tmp_path / "again")
    ivf.save(made.index, tmp_path / "first")
    assert facts == made.facts
    assert (tmp_path / "again").read_bytes() == (tmp_path / "first").read_bytes()


def test_a_template_lends_its_lists_and_its_codebook(made: ivf.IvfIndex, tmp_path: Path) -> None:
    vectors = clustered(2, 9_000)
    index, facts = ivf.build(vectors, made)
    np.testing.assert_array_equal(_codebook(index), _codebook(made.index))
    assert (facts.nlist, index.ntotal) == (made.facts.nlist, 9_000)
    assert facts.recall_at_10 >= ivf.RECALL_AIM
    assert facts.residual == pytest.approx(made.facts.residual, rel=0.1), "rows of the same kind fit as well"
    assert made.index.ntotal == ROWS, "the template keeps its rows"
    other, _ = ivf.build(vectors)
    assert not np.array_equal(_codebook(other), _codebook(made.index))


def test_rows_of_another_kind_show_in_residual_and_imbalance(made: ivf.IvfIndex) -> None:
    drifted = np.abs(clustered(3, 9_000))  # all in one corner
    drifted /= np.linalg.norm(drifted.astype(np.float32), axis=1, keepdims=True).astype(np.float16)
    _, facts = ivf.build(drifted, made)
    assert facts.residual > 1.1 * made.facts.residual or facts.imbalance > 1.5 * made.facts.imbalance


def test_what_was_sampled_at_build_holds_for_other_queries(made: ivf.IvfIndex) -> None:
    queries = clustered(4, 200).astype(np.float32)
    assert recall(made, queries, np.ones(ROWS, np.bool_)) >= ivf.RECALL_FLOOR


@pytest.mark.parametrize("share", [0.9, 0.6, 0.4])
@pytest.mark.parametrize("kind", ["random", "near", "far"])
def test_recall_under_filters(made: ivf.IvfIndex, share: float, kind: str) -> None:
    """recall@10 >= 0.95 over 40 queries near one place; rows pass at random, or are the nearest, or the furthest."""
    anchor = clustered(5, 1)[0].astype(np.float32)
    near = clustered(6, 2_000).astype(np.float32)
    queries = near[np.argsort(-(near @ anchor))[:40]]
    scores = made.exact.vectors.astype(np.float32) @ anchor
    order = {
        "random": np.random.default_rng(7).permutation(ROWS),
        "near": np.argsort(-scores),
        "far": np.argsort(scores),
    }
    mask = np.zeros(ROWS, np.bool_)
    mask[order[kind][: int(share * ROWS)]] = True
    assert mask.sum() > ivf.EXACT_ROWS_MAX
    assert recall(made, queries, mask) >= 0.95


def test_a_bitmap_is_not_made_where_nearly_all_pass(made: ivf.IvfIndex) -> None:
    mask = np.ones(ROWS, np.bool_)
    mask[::20] = False

    def make() -> npt.NDArray[np.bool_]:
        raise AssertionError("nobody asked for it")

    passing = LatePassing(ROWS, int(mask.sum()), make, lambda rows: mask[rows])
    found = made.search(clustered(8, 1)[0].astype(np.float32), 10, passing)
    assert len(found.rows) >= 10
    assert mask[found.rows].all()


def _codebook(index: object) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = ivf.faiss.vector_to_array(index.pq.centroids)  # type: ignore[attr-defined]
    return found


def test_what_is_new_and_unlike_the_rest_is_looked_for_as_widely_as_it_needs() -> None:
    """A codebook of before the drift: the few lists near the new rows are full of them."""
    season = np.random.default_rng(5).standard_normal((1, DIM))
    season = season + 0.5 * np.random.default_rng(6).standard_normal((20, DIM))
    rows = np.concatenate([clustered(1, 9000), clustered(2, 1500, season)])
    before, facts = ivf.build(rows[:9000])
    template = ivf.IvfIndex(before, facts, ExactRows(rows[:9000]))
    _, blind = ivf.build(rows, template)
    _, seeing = ivf.build(rows, template, np.arange(9000, 10_500))
    assert seeing.recall_at_10 >= ivf.RECALL_AIM
    assert (seeing.nprobe, seeing.rescored) > (blind.nprobe, blind.rescored)


def test_less_effort_looks_at_less_and_still_fills_the_answer(made: ivf.IvfIndex) -> None:
    """Never fewer than wanted, and with a little of the work less is found than with all of it."""
    mask = np.ones(ROWS, np.bool_)
    by_effort: dict[float, int] = {}
    for effort in (1.0, 0.5, 0.02):
        by_effort[effort] = 0
        for query in clustered(4, 100).astype(np.float32):
            true = made.exact.search(query, 10, Passing(mask)).rows[:10]
            found = made.search(query, 10, Passing(mask), effort).rows
            assert len(found) >= 10
            by_effort[effort] += len(np.intersect1d(true, found[:10]))
    assert by_effort[1.0] >= by_effort[0.5] > by_effort[0.02]
