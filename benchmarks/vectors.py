"""The two sets of vectors that benchmarks measure on, and exact search over them.

``drawn``: embeddings of drawn products, 256-d (see ``drawn_vectors``, which renders them). ``clustered``: synthetic,
512-d (see ``clustered_vectors``). Neither is in the repository; both come out the same wherever they are made.

    python -m benchmarks.vectors
"""

from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks import clustered_vectors, drawn_vectors

ROWS, EXTRA = 200_000, 20_000
SETS = ("drawn", "clustered")
_CHUNK = 65_536

Half = npt.NDArray[np.float16]
Single = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class VectorSet:
    """``rows`` (n, dim) float16 for the generation, ``extra`` (m, dim) float16 for the delta, ``queries`` float32."""

    name: str
    rows: Half
    extra: Half
    queries: Single

    @property
    def dim(self) -> int:
        return int(self.rows.shape[1])

    @property
    def all(self) -> Half:
        """(n + m, dim): the rows and behind them the extra ones."""
        return np.concatenate([self.rows, self.extra])


def load(name: str, rows: int = ROWS, extra: int = EXTRA) -> VectorSet:
    """A set, made first where that takes seconds."""
    if name == "clustered":
        made = clustered_vectors.rows(max(ROWS + EXTRA, rows + extra))
        return VectorSet(name, made[:rows], made[rows : rows + extra], clustered_vectors.queries())
    assert name == "drawn", name
    if drawn_vectors.rows_done() < rows + extra:
        raise SystemExit(
            f"{drawn_vectors.rows_done()} drawn products are rendered, {rows + extra} are needed: "
            "python -m benchmarks.drawn_vectors (40 minutes of one core)"
        )
    made = np.load(drawn_vectors.rows_path(), mmap_mode="r")
    return VectorSet(name, made[:rows], made[rows : rows + extra], np.load(drawn_vectors.queries_path()))


def exact(vectors: Half, queries: Single, k: int = 10) -> Numbers:
    """(q, k) int64: the true nearest rows, best first."""
    best_scores = np.full((len(queries), k), -2.0, np.float32)
    best = np.zeros((len(queries), k), np.int64)
    for start in range(0, len(vectors), _CHUNK):
        part = np.ascontiguousarray(vectors[start : start + _CHUNK], dtype=np.float32)
        scores, rows = faiss.knn(queries, part, min(k, len(part)), metric=faiss.METRIC_INNER_PRODUCT)
        scores, rows = np.concatenate([best_scores, scores], axis=1), np.concatenate([best, rows + start], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best_scores, best = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
    return best


def recall(found: list[list[int]], truth: Numbers) -> float:
    """Share of the true nearest that were found."""
    hits = sum(len(set(rows) & set(true.tolist())) for rows, true in zip(found, truth, strict=True))
    return round(hits / truth.size, 4)


def main() -> None:
    """Make both sets."""
    clustered_vectors.main()
    drawn_vectors.main()


if __name__ == "__main__":
    main()
