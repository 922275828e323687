"""How many lists have to be probed for real queries, and do the queries sampled at build time foretell it?

The lists of a generation are probed in growing numbers, for the recall@10 of held-out queries (phone photos of drawn
products; points of the synthetic set) and of what a build samples: rows moved towards others, rows that ask for
others, and rows moved by noise, which was tried and is too easy.

    python -m benchmarks.probes
"""

from typing import Any

import faiss
import numpy as np

from benchmarks.measuring import arguments
from benchmarks.prepared import prepared
from benchmarks.products import products_of
from benchmarks.report import save
from benchmarks.vectors import Half, Numbers, Single, exact, load, recall
from index_nodes.generations.ivf import IvfIndex
from index_nodes.rows.samples import between

_NPROBES = (6, 12, 24, 48, 96, 192)
_RESCORED = (100, 400)
_QUERIES = 300


def sampled(rows: Half) -> dict[str, Single]:
    """What a build could ask, each (q, dim) float32 of unit norm."""
    random = np.random.default_rng(5)
    own = rows[np.sort(random.choice(len(rows), _QUERIES, replace=False))].astype(np.float32)
    noise = random.standard_normal(own.shape).astype(np.float32)
    noise *= 0.5 / np.linalg.norm(noise, axis=1, keepdims=True)
    noisy = (own + noise) / np.linalg.norm(own + noise, axis=1, keepdims=True)
    return {"rows moved towards others": between(rows, _QUERIES, random), "rows with noise": noisy}


def curve(index: Any, rescored: int, queries: Single, truth: Numbers) -> dict[str, float]:
    """Recall@10 by number of lists probed."""
    found = {}
    for nprobe in _NPROBES:
        lists = faiss.SearchParametersIVF(nprobe=nprobe)
        parameters = faiss.IndexRefineSearchParameters(k_factor=rescored / 10, base_index_params=lists)
        _, rows = index.search(queries, 10, params=parameters)
        found[str(nprobe)] = recall(rows.tolist(), truth)
    return found


def main() -> None:
    """Both sets."""
    given = arguments()
    figures: dict[str, Any] = {}
    for name in given.sets.split(","):
        vectors = load(name, given.rows, given.extra)
        generation = prepared(name, products_of(vectors), given.rows).generation()
        index, rows = generation.index, generation.vectors  # in the order of the generation, by key
        assert isinstance(index, IvfIndex)
        rescoring = faiss.IndexRefine(index.index, index.exact.index)
        kinds = {"held-out queries": vectors.queries[:_QUERIES], **sampled(rows)}
        truths = {kind: exact(rows, queries) for kind, queries in kinds.items()}
        figures[name] = {
            "lists": index.facts.nlist,
            "chosen": {"nprobe": index.facts.nprobe, "rescored": index.facts.rescored},
            "recall@10": {
                kind: {str(count): curve(rescoring, count, kinds[kind], truths[kind]) for count in _RESCORED}
                for kind in kinds
            },
        }
    save("probes", "How many lists have to be probed, and do sampled queries foretell it?", figures)


if __name__ == "__main__":
    main()
