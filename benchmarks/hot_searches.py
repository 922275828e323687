"""What does it save to remember searches, and would answers of near vectors do?

A node with 60,000 clustered products serves searches of which 80 % ask for 20 % of 5,000 query vectors, while 200
events a second stream in (new products, prices, deletions). The same searches go to a node that remembers and to one
that does not, in turn. Every answer is compared with the view it came from: a ghost is a product that is dead or does
not pass. ``look_up`` is what a cache of answers in the API would have to ask the node for each of ten products.

Near vectors: how much the ten of a query agree with the ten of another, by their cosine; and how near photos lie to
each other: the same photo compressed anew, another photo of the same drawn product, and one of another product.

    python -m benchmarks.hot_searches [--seconds 12 --rows 60000]
"""

import io
import time
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measuring import K, arguments, ids_of, rate
from benchmarks.prepared import facts_of, prepared
from benchmarks.products import TENANT, product_id, products_of
from benchmarks.report import save, spread
from benchmarks.streaming_updates import Feeding, Following, events
from benchmarks.vectors import Single, load
from freshlens.catalogue import draw_cutout, phone_photo
from freshlens.catalogue import product as drawn_product
from index_nodes.rows.graph import ThreadBuilder
from index_nodes.views.hot_searches import HotSearches
from index_nodes.views.search import Found, product, search
from index_nodes.views.view import IndexView
from processors.encoders.open_clip_encoder import BUNDLED, load_encoder
from schemas.filters import Filter, Range
from schemas.metrics import RecordingMetrics

POOL, HOT_SHARE, HOT_LOAD = 5_000, 0.2, 0.8
REMEMBERED = 4_096
EVENTS_PER_S = 200
CASES: dict[str, Filter | None] = {
    "no filter": None,
    "10 % pass, at random": Range("lot", lt=100),
    "half pass, far from the query": Range("near_0", gte=0.5),
}
COSINES = (0.9999, 0.999, 0.99, 0.98, 0.95, 0.9, 0.8)
PHOTOS = 150


def main() -> None:
    """Measure and keep."""
    given = arguments(seconds=12.0)
    rows = min(given.rows, 60_000)
    vectors = load("clustered", rows)
    products = products_of(vectors)
    made = prepared("clustered", products, rows)
    log = made.log()
    replica = made.replica(log, ThreadBuilder())
    pool = (
        vectors.queries[np.arange(POOL) % len(vectors.queries)] if len(vectors.queries) >= POOL else _pool(vectors.rows)
    )
    feeding = Feeding(log, events(products, rows, rows, int(len(CASES) * given.seconds * EVENTS_PER_S)), EVENTS_PER_S)
    quiet = {name: _alternated(lambda: replica.view, pool, clause, given.seconds / 3) for name, clause in CASES.items()}
    following = Following(replica)
    following.start()
    feeding.start()
    streaming = {name: _alternated(lambda: replica.view, pool, clause, given.seconds) for name, clause in CASES.items()}
    feeding.join()
    following.stop()
    figures = {
        **facts_of(made.manifest),
        "quiet": quiet,
        "streaming": streaming,
        "look_up": _look_up(replica.view),
        "overlap": _overlap(replica.view, pool[:200]),
        "photos": _photos(),
    }
    replica.close()
    save("hot_searches", "What remembered searches save, and near vectors", figures)


def _pool(rows: Any) -> Single:
    random = np.random.default_rng(17)
    picked = rows[random.choice(len(rows), POOL, replace=False)].astype(np.float32)
    return np.ascontiguousarray(picked / np.linalg.norm(picked, axis=1, keepdims=True))


def _alternated(view: Any, pool: Single, clause: Filter | None, seconds: float) -> dict[str, Any]:
    """Both ways in turn, query by query; each answer checked outside of the time."""
    random = np.random.default_rng(23)
    metrics = RecordingMetrics()
    hot = HotSearches(REMEMBERED, metrics)
    for query in pool[: int(POOL * HOT_SHARE)]:  # as after some minutes of such a load
        search(view(), tenant=TENANT, query=query, k=K, clause=clause, hot=hot)
    metrics.values.clear()
    ways = {"remembering": partial(search, hot=hot), "searching": search}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    agreeing: dict[str, list[float]] = {name: [] for name in ways}
    ghosts = short = 0
    ends = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < ends:
        query = pool[_asked(random)]
        number += 1
        for name in ways if number % 2 else reversed(list(ways)):
            seen: IndexView = view()
            began = time.perf_counter()
            found = ways[name](seen, tenant=TENANT, query=query, k=K, clause=clause)
            taken[name].append(time.perf_counter() - began)
            ghosts += _ghosts(seen, found, clause)
            short += len(found.hits) < min(K, found.candidates)
            if number % 50 == 0:
                truth = search(seen, tenant=TENANT, query=query, k=K, clause=clause, exact=True)
                agreeing[name].append(len(set(ids_of(truth)) & set(ids_of(found))) / len(truth.hits))
    outcomes = {str(dict(labels)["result"]): value for (_, labels), value in metrics.values.items()}
    return {
        "ways": {
            name: {**spread(taken[name]), "mean_ms": round(float(np.mean(taken[name])) * 1000, 4),
                   "recall@10": round(float(np.mean(agreeing[name])), 4)}
            for name in ways
        },
        "hits": round(outcomes.get("hit", 0) / sum(outcomes.values()), 4),
        "changed": round(outcomes.get("changed", 0) / sum(outcomes.values()), 4),
        "ghosts": ghosts,
        "short": int(short),
        "checked": sum(map(len, taken.values())),
    }  # fmt: skip


def _asked(random: np.random.Generator) -> int:
    hot = int(POOL * HOT_SHARE)
    return int(random.integers(0, hot) if random.random() < HOT_LOAD else random.integers(hot, POOL))


def _ghosts(view: IndexView, found: Found, clause: Filter | None) -> int:
    passing = view.select(TENANT, clause).slots
    slots = [view.find(f"{TENANT}/{hit.product_id}".encode()) for hit in found.hits]
    return int(np.count_nonzero(~passing.includes(np.array(slots, np.int64))))


def _look_up(view: IndexView) -> dict[str, float]:
    """Ten products looked up, as a cache of answers would have to for each answer it gives."""
    random = np.random.default_rng(3)
    taken = []
    for _ in range(500):
        wanted = [product_id(int(number)) for number in random.integers(0, 60_000, K)]
        began = time.perf_counter()
        for each in wanted:
            product(view, TENANT, each, with_vectors=False)
        taken.append(time.perf_counter() - began)
    return spread(taken)


def _overlap(view: IndexView, queries: Single) -> dict[str, float]:
    """Cosine → share of a query's exact ten that are among those of a vector so near."""
    random = np.random.default_rng(29)
    found = {}
    for cosine in COSINES:
        shares = []
        for query in queries:
            aside = random.standard_normal(len(query)).astype(np.float32)
            aside -= (aside @ query) * query
            other = cosine * query + np.sqrt(1 - cosine**2) * aside / np.linalg.norm(aside)
            both = [
                set(ids_of(search(view, tenant=TENANT, query=each.astype(np.float32), k=K, exact=True)))
                for each in (query, other)
            ]
            shares.append(len(both[0] & both[1]) / K)
        found[str(cosine)] = round(float(np.mean(shares)), 4)
    return found


def _photos() -> dict[str, Any]:
    """Cosines between photos of shoppers, and what encoding one takes."""
    encoder = load_encoder(BUNDLED, threads=1)
    side, random = encoder.form.size, np.random.default_rng(31)
    kinds: dict[str, list[Any]] = {"photo": [], "compressed anew": [], "another photo": []}
    for number in range(PHOTOS):
        cutout = draw_cutout(drawn_product(number), side)
        photo = phone_photo(cutout, random, 0.4, side).convert("RGB")
        again = io.BytesIO()
        photo.save(again, "JPEG", quality=70)
        kinds["photo"].append(np.asarray(photo))
        kinds["compressed anew"].append(np.asarray(Image.open(again)))
        kinds["another photo"].append(np.asarray(phone_photo(cutout, random, 0.4, side).convert("RGB")))
    taken = []
    for each in kinds["photo"][:50]:
        began = time.perf_counter()
        encoder.encode_images(each[None])
        taken.append(time.perf_counter() - began)
    vectors = {name: encoder.encode_images(np.stack(pictures)) for name, pictures in kinds.items()}
    cosines = {name: np.sum(vectors["photo"] * vectors[name], axis=1) for name in ("compressed anew", "another photo")}
    between = vectors["photo"] @ vectors["photo"].T - 2 * np.eye(PHOTOS, dtype=np.float32)
    cosines["the nearest of another product"] = between.max(axis=1)
    quantiles = {
        name: {f"p{q}": round(float(np.percentile(values, q)), 4) for q in (10, 50, 90, 99)}
        for name, values in cosines.items()
    }
    return {"cosines": quantiles, "encode": spread(taken), "per_s": rate(50, sum(taken))}


if __name__ == "__main__":
    main()
