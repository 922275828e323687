"""Synthetic vectors that are as hard to find by lists as embeddings of real pictures are.

Products come in 5,000 families (a model in its colours, sizes and cuts) with chances 1/rank^0.4, and families lie
around 4,000 centres with chances 1/rank^0.5, so that clusters have heavy-tailed sizes:

- a family is ``sqrt(1/2) centre + sqrt(1/2) own + noise``, normalised. Centres and ``own`` are Gaussian with deviation
  1/i^0.75 in direction i: of 512 directions few matter. The noise is equal in all directions, and its length
  0.56 exp(2.25 g), g Gaussian, differs from family to family: most are easy to place, and some lie nowhere in
  particular, as in real catalogues;
- a member is its family and, times exp(0.7 g), half a part of the first kind and half a part of the second;
- everything is turned by one random rotation, since in real embeddings no coordinate matters more than another.

Queries are further members. Decay and noise were found by a small search (decay 0.5 to 1.0, noise 0 to 0.8, spread 1
to 2.5) for this curve of recall@10 against lists probed of 512, exact scores within the lists: 0.84, 0.90, 0.94 and
0.96 at 16, 32, 64 and 128. ``python -m benchmarks.clustered_vectors`` measures it again.
"""

from collections.abc import Iterator

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.cache import cache_folder
from benchmarks.report import save

DIM = 512
FAMILIES, CENTRES = 5_000, 4_000
QUERIES = 1_000
LISTS = 512
_DECAY, _NOISE, _NOISE_SPREAD, _MEMBER, _MEMBER_SPREAD = 0.75, 0.56, 2.25, 0.5, 0.7
_CHUNK = 20_000
_MAIN, _QUERIES = 2, 3

Rows = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


def rows(count: int) -> npt.NDArray[np.float16]:
    """(count, DIM) float16 of unit norm; kept between calls, and the first rows of a larger call."""
    path = cache_folder() / "clustered-rows.npy"
    if path.exists() and len(known := np.load(path, mmap_mode="r")) >= count:
        return known[:count]  # type: ignore[no-any-return]
    temporary = path.with_suffix(".part")
    made: npt.NDArray[np.float16] = np.lib.format.open_memmap(temporary, "w+", np.float16, (count, DIM))
    for start, (chunk, _) in zip(range(0, count, _CHUNK), chunks(count, _MAIN), strict=True):
        made[start : start + len(chunk)] = chunk
    made.flush()
    temporary.replace(path)
    return made


def families(count: int) -> Numbers:
    """(count,) the family of each row."""
    return np.concatenate(
        [_drawn(_generator(_MAIN, start), FAMILIES, 0.4, _CHUNK)[:size] for start, size in _parts(count)]
    )


def queries(count: int = QUERIES) -> Rows:
    """(count, DIM) float32, drawn as the rows are."""
    return np.concatenate([chunk for chunk, _ in chunks(count, _QUERIES)])


def chunks(count: int, seed: int) -> Iterator[tuple[Rows, Numbers]]:
    """Vectors and their families, in chunks that depend on nothing but the seed and their place."""
    scale, rotation = _scale(), _rotation()
    middles = _families(scale, rotation)
    for start, size in _parts(count):
        # A whole chunk is made whatever is asked for, so that a shorter one is the beginning of a longer one.
        random = _generator(seed, start)
        family = _drawn(random, FAMILIES, 0.4, _CHUNK)
        length = _MEMBER * np.exp(_MEMBER_SPREAD * random.standard_normal((_CHUNK, 1), dtype=np.float32))
        part = _shaped(random, _CHUNK, scale) @ rotation + _even(random, _CHUNK)
        yield _unit(middles[family] + length * part)[:size], family[:size]


def curve(made: npt.NDArray[np.floating], asked: Rows, probes: tuple[int, ...]) -> dict[str, float]:
    """Recall@10 by the number of lists probed, of LISTS, with exact scores within the lists."""
    vectors = np.ascontiguousarray(made, dtype=np.float32)
    lists = faiss.IndexFlatIP(vectors.shape[1])
    training = faiss.Clustering(vectors.shape[1], LISTS)
    training.niter, training.seed, training.spherical, training.max_points_per_centroid = 10, 1, True, 64
    training.train(vectors, lists)
    lists_of_rows = lists.search(vectors, 1)[1][:, 0]
    order = lists.search(asked, LISTS)[1]
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(LISTS)[None], 1)
    truth = faiss.knn(asked, vectors, 10, metric=faiss.METRIC_INNER_PRODUCT)[1]
    ranks = np.take_along_axis(place, lists_of_rows[truth], 1)
    return {str(count): round(float((ranks < count).mean()), 3) for count in probes}


def _families(scale: Rows, rotation: Rows) -> Rows:
    random = np.random.default_rng(1)
    centres = _shaped(random, CENTRES, scale)[_drawn(random, CENTRES, 0.5, FAMILIES)]
    length = _NOISE * np.exp(_NOISE_SPREAD * random.standard_normal((FAMILIES, 1), dtype=np.float32))
    inner = np.float32(np.sqrt(0.5)) * (centres + _shaped(random, FAMILIES, scale)) @ rotation
    middles = _unit(inner + length * _even(random, FAMILIES))
    return middles[random.permutation(FAMILIES)]


def _scale() -> Rows:
    scale = np.arange(1, DIM + 1) ** -_DECAY
    return (scale / np.sqrt((scale**2).sum())).astype(np.float32)


def _rotation() -> Rows:
    square = np.random.default_rng(4).standard_normal((DIM, DIM))
    return np.linalg.qr(square)[0].astype(np.float32)


def _shaped(random: np.random.Generator, size: int, scale: Rows) -> Rows:
    return random.standard_normal((size, DIM), dtype=np.float32) * scale


def _even(random: np.random.Generator, size: int) -> Rows:
    return random.standard_normal((size, DIM), dtype=np.float32) / np.float32(np.sqrt(DIM))


def _unit(made: Rows) -> Rows:
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def _drawn(random: np.random.Generator, kinds: int, exponent: float, size: int) -> Numbers:
    chances = np.arange(1, kinds + 1) ** -exponent
    return random.choice(kinds, size, p=chances / chances.sum())


def _parts(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, _CHUNK):
        yield start, min(_CHUNK, count - start)


def _generator(seed: int, start: int) -> np.random.Generator:
    return np.random.default_rng((seed, start))


def main() -> None:
    """Make the rows, and measure the curve."""
    faiss.omp_set_num_threads(1)
    made = rows(220_000)[:200_000]
    probes = (8, 16, 32, 64, 128, 256)
    figures = {"rows": len(made), "lists": LISTS, "recall@10_at_nprobe": curve(made, queries()[:500], probes)}
    save("clustered_vectors", "How hard are the clustered vectors to find by lists?", figures)


if __name__ == "__main__":
    main()
