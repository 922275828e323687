"""A lane of own vectors: how fast do 90,000 go in, and how well and fast are they found after a compaction?

Vectors: clustered, 384-d (centres drawn once, each vector its centre plus noise), queries of the same kind. Beside it,
in the same run and on the same vectors: exact search by FAISS.

    python -m benchmarks.own_vectors [--rows 90000]
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.report import save, spread
from freshlens.client import AsyncClient
from tests.running import Running

DIM = 384
QUERIES = 500
K = 10

Rows = npt.NDArray[np.float32]


def clustered(rows: int, seed: int, centres: Rows, noise: float = 0.7) -> Rows:
    """(rows, DIM) float32 of unit norm around the given centres; noise is the norm of what is added."""
    rng = np.random.default_rng(seed)
    around = centres[rng.integers(0, len(centres), rows)]
    vectors = around + rng.standard_normal((rows, DIM)).astype(np.float32) * (noise / np.sqrt(DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def make_centres(count: int = 2_000) -> Rows:
    """Unit vectors that the rows lie around."""
    drawn = np.random.default_rng(1).standard_normal((count, DIM)).astype(np.float32)
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def true_nearest(vectors: Rows, queries: Rows) -> npt.NDArray[np.int64]:
    """(n, K) the rows nearest to each query, by FAISS's exact search."""
    exact = faiss.IndexFlatIP(DIM)
    exact.add(vectors)
    found: npt.NDArray[np.int64] = exact.search(queries, K)[1]
    return found


def write_lines(path: Path, vectors: Rows) -> None:
    """One product a line, with its vector."""
    with path.open("w") as file:
        for number, vector in enumerate(vectors):
            line = {"product_id": f"v{number}", "title": f"vector {number}", "price": number % 100,
                    "vector": [round(float(value), 6) for value in vector]}  # fmt: skip
            file.write(json.dumps(line) + "\n")


async def ask(client: AsyncClient, queries: Rows) -> tuple[list[list[str]], list[float]]:
    """The answers to vector queries, one after another, and how long each took."""
    found, seconds = [], []
    for query in queries:
        began = time.perf_counter()
        answer = await client.search(vector=query.tolist(), k=K)
        seconds.append(time.perf_counter() - began)
        found.append([result.product_id for result in answer.results])
    return found, seconds


def recall(found: list[list[str]], truth: npt.NDArray[np.int64]) -> float:
    """Share of the true K nearest that were found."""
    hits = [len(set(ids) & {f"v{row}" for row in rows}) for ids, rows in zip(found, truth, strict=True)]
    return round(sum(hits) / (K * len(hits)), 4)


async def searched(url: str, queries: Rows, truth: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Recall and time over HTTP, after a warm-up."""
    async with AsyncClient(url) as client:
        await ask(client, queries[:50])
        found, seconds = await ask(client, queries)
    return {"recall@10": recall(found, truth), **spread(seconds)}


def main() -> None:
    """Start a lane of its own and measure it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=90_000)
    rows = parser.parse_args().rows
    centres = make_centres()
    vectors, queries = clustered(rows, 2, centres), clustered(QUERIES, 3, centres)
    exact = faiss.IndexFlatIP(DIM)
    exact.add(vectors)
    faiss.omp_set_num_threads(1)
    began = time.perf_counter()
    truth = exact.search(queries, K)[1]
    exact_ms = round((time.perf_counter() - began) / len(queries) * 1000, 3)
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "vectors.jsonl"
        write_lines(lines, vectors)
        with Running(Path(folder) / "data", FRESHLENS_ENCODER=f"none:{DIM}") as running:
            began = time.perf_counter()
            published = running.freshlens("publish", str(lines), "--wait", timeout_s=1800)
            assert published.returncode == 0, published.stdout + published.stderr
            publish_s = time.perf_counter() - began
            before = asyncio.run(searched(running.url, queries, truth))
            began = time.perf_counter()
            compacted = running.freshlens("compact", "--wait", timeout_s=1800)
            assert compacted.returncode == 0, compacted.stdout + compacted.stderr
            compact_s = time.perf_counter() - began
            after = asyncio.run(searched(running.url, queries, truth))
    figures = {
        "rows": rows,
        "dim": DIM,
        "published_per_s": round(rows / publish_s),
        "compaction_s": round(compact_s, 1),
        "faiss_exact_one_thread_ms": exact_ms,
        "delta_only": before,
        "after_compaction": after,
    }
    save("own_vectors", "A lane of own vectors over HTTP: recall and time, delta only and after a compaction", figures)


if __name__ == "__main__":
    main()
