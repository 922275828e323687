"""What does each stage of ranking cost for 500 candidates, and does it do what it should?

Candidates are drawn around the query as a search would find them: 384 dimensions, in clusters of near-duplicates.
Beside each time stands how well the order agrees with a plain reference written down here as the definition says, over
all candidates: NDCG@10 of the linear score, of the learned one against the chance of a click that it was trained for,
and the share of the ten that diversity chooses as the greedy definition does. ``wire`` is the answer of a node.

    python -m benchmarks.ranking
"""

import asyncio
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import lightgbm
import msgspec
import numpy as np
from PIL import Image, ImageDraw

from benchmarks.report import save
from query_api.ranking import merchandising
from query_api.ranking.clicks_seen import ClicksSeen
from query_api.ranking.diversity import diversify
from query_api.ranking.features import FEATURES, features
from query_api.ranking.learned import LightGbmModel, rescore
from query_api.ranking.linear import linear
from query_api.ranking.options import RankOptions
from query_api.ranking.ranked import Ranked
from query_api.ranking.rules import ActiveRule, Rule
from query_api.ranking.settings import DAY_US, RankSettings, Weights
from query_api.ranking.stages import Asked, Pool
from query_api.ranking.verifier import GeometryProcess
from schemas.embeddings import Vector, to_fp16
from schemas.filters import parse_filter
from schemas.shard import ShardAnswer, ShardHit, ShardState

CANDIDATES = 500
DIM = 384
K = 10
ROUNDS = 40
NOW_US = 1_795_000_000_000_000
PREFER = {"brand": "brand-3", "price": {"lt": 40}}


def main() -> None:
    """Measure every stage."""
    rng = np.random.default_rng(11)
    pool, question = candidates(rng), asked(rng)
    scored = linear(pool, question)
    model = trained(rng)
    rows = features(scored, question, ClicksSeen(), 1.0)
    figures = {
        "linear": {
            **timed(lambda: linear(pool, question)),
            "ndcg@10": ndcg(linear(pool, question), reference(pool, question)),
        },
        "features": timed(lambda: features(scored, question, ClicksSeen(), 1.0)),
        "learned": {**timed(lambda: rescore(scored, rows, model, expected_value=False)), **learned_quality(rng, model)},
        "rules": timed(lambda: merchandising.weigh(scored, rules())),
        "diversity": {**timed(lambda: diversify(scored, question)), "agreement@10": agreement(scored, question)},
        "geometry": asyncio.run(geometry()),
        "wire": {
            f"{count}{' with vectors' if has else ''}": wire(pool[:count], has)
            for count, has in ((10, False), (500, False), (500, True))
        },
    }
    save("ranking", "Each stage of ranking over 500 candidates: time, and agreement with a plain reference", figures)


def candidates(rng: np.random.Generator) -> Pool:
    """500 hits in clusters of five, by similarity."""
    query = unit(rng.standard_normal(DIM))
    centres = [unit(query + 1.2 * unit(rng.standard_normal(DIM))) for _ in range(CANDIDATES // 5)]
    vectors = [unit(centre + 0.3 * unit(rng.standard_normal(DIM))) for centre in centres for _ in range(5)]
    hits = [hit(number, vector, float(vector @ query), rng) for number, vector in enumerate(vectors)]
    return [Ranked(each) for each in sorted(hits, key=lambda each: -each.similarity)]


def hit(number: int, vector: Vector, similarity: float, rng: np.random.Generator) -> ShardHit:
    """One product of a shop."""
    brand, colour = f"brand-{rng.integers(0, 20)}", str(rng.choice(["red", "blue", "green", "black"]))
    return ShardHit(
        product_id=f"product-{number:06}",
        similarity=round(similarity, 6),
        source="main",
        version=NOW_US,
        title=f"A {colour} dress of {brand}",
        attributes={"brand": brand, "color": colour, "size": int(rng.integers(30, 50))},
        price=float(np.round(rng.gamma(4, 10), 2)),
        currency="EUR",
        stock=int(rng.integers(0, 9)),
        content_version=NOW_US - int(rng.exponential(60) * DAY_US),
        vector=to_fp16(vector),
    )


def asked(rng: np.random.Generator) -> Asked:
    """A search that uses every signal."""
    options = RankOptions(weights=Weights(1.0, 0.2, 0.2, 0.1), diversity=0.3, prefer=parse_filter(PREFER))
    return Asked(
        tenant="shop",
        modality="image+text",
        k=K,
        now_us=NOW_US,
        settings=RankSettings(),
        options=options,
        vector=unit(rng.standard_normal(DIM)),
        text="red dress",
        profile=unit(rng.standard_normal(DIM)),
    )


def reference(pool: Pool, question: Asked) -> dict[str, float]:
    """The linear score, written down once more, one product at a time."""
    weights, scores = question.options.weights, {}
    assert question.profile is not None
    for each in pool:
        product, vector = each.hit, np.frombuffer(each.hit.vector, "<f2").astype(np.float64)
        preferred = ((product.attributes["brand"] == "brand-3") + ((product.price or 0) < 40)) / 2
        words = sum(word in f"{product.title} {product.attributes['color']}" for word in ("red", "dress")) / 2
        age_days = (NOW_US - product.content_version) / DAY_US
        scores[product.product_id] = (
            weights.visual * product.similarity
            + weights.attributes * (preferred + words) / 2
            + weights.personal * max(0.0, float(vector @ question.profile))
            + weights.fresh * 0.5 ** (age_days / 14)
        )
    return scores


def ndcg(pool: Pool, gains: dict[str, float]) -> float:
    """NDCG@10 by the gains' ranks: 1 when the first ten are the best ten in their order."""
    discounts = 1 / np.log2(np.arange(2, K + 2))
    least = min(gains.values())
    found = np.array([gains[each.hit.product_id] - least for each in pool[:K]])
    ideal = np.array(sorted((value - least for value in gains.values()), reverse=True)[:K])
    return round(float(found @ discounts / (ideal @ discounts)), 4)


def agreement(pool: Pool, question: Asked) -> float:
    """The share of the first ten that are, place by place, those of the greedy definition."""
    vectors = [np.frombuffer(each.hit.vector, "<f2").astype(np.float32) for each in pool]
    scores = np.array([each.score for each in pool])
    relevance = (scores - scores.min()) / np.ptp(scores)
    share, chosen = question.options.diversity, list[int]()
    for _ in range(K):
        left = [place for place in range(len(pool)) if place not in chosen]
        values = {
            place: (1 - share) * relevance[place]
            - share * max([0.0, *(float(vectors[place] @ vectors[other]) for other in chosen)])
            for place in left
        }
        chosen.append(max(left, key=lambda place: (round(values[place], 6), -place)))
    found = [each.hit.product_id for each in diversify(pool, question)[:K]]
    return sum(one == pool[place].hit.product_id for one, place in zip(found, chosen, strict=True)) / K


def trained(rng: np.random.Generator) -> LightGbmModel:
    """A model of 100 trees of 31 leaves that learnt a mixture of similarity, price and freshness."""
    rows = rng.random((20_000, len(FEATURES)))
    data = lightgbm.Dataset(rows, labels(rows, rng), feature_name=list(FEATURES))
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "seed": 1}
    return LightGbmModel("bench", lightgbm.train(settings, data, num_boost_round=100))


def labels(rows: Any, rng: np.random.Generator) -> Any:
    """Clicks with the chance that a shopper would have."""
    return (rng.random(len(rows)) < chance(rows)).astype(int)


def chance(rows: Any) -> Any:
    """Similar, fresh and cheap."""
    columns = {name: rows[:, place] for place, name in enumerate(FEATURES)}
    return 1 / (1 + np.exp(-(6 * columns["similarity"] + 2 * columns["fresh"] - 3 * columns["price"] - 2)))


def learned_quality(rng: np.random.Generator, model: LightGbmModel) -> dict[str, float]:
    """NDCG@10 by the true chance of a click, of the model and of similarity alone, over 50 pools it never saw."""
    found: dict[str, list[float]] = {"ndcg@10": [], "ndcg@10_by_similarity": []}
    for _ in range(50):
        rows = rng.random((CANDIDATES, len(FEATURES))).astype(np.float32)
        true = chance(rows)
        gains = {f"p{place}": float(value) for place, value in enumerate(true)}
        pool = [
            Ranked(ShardHit(product_id=f"p{place}", similarity=0.0, source="main", version=1))
            for place in range(CANDIDATES)
        ]
        by_similarity = [pool[place] for place in np.argsort(-rows[:, 0])]
        found["ndcg@10"].append(ndcg(rescore(pool, rows, model, expected_value=False), gains))
        found["ndcg@10_by_similarity"].append(ndcg(by_similarity, gains))
    return {name: round(statistics.mean(values), 4) for name, values in found.items()}


def rules() -> list[ActiveRule]:
    """Ten rules by filter and ten by id."""
    return [
        *(ActiveRule(Rule(name=f"w{n}", action="boost", where={"brand": f"brand-{n}"})) for n in range(10)),
        *(ActiveRule(Rule(name=f"p{n}", action="bury", products=(f"product-{n:06}",))) for n in range(10)),
    ]


async def geometry() -> dict[str, Any]:
    """Ten thumbnails of 512 pixels in the child process: one is the query seen from elsewhere."""
    pictures = [scene(seed) for seed in range(10)]
    query = pictures[3].rotate(12, expand=True, fillcolor="white").resize((420, 400))
    process = GeometryProcess(timeout_s=60)
    seconds: list[float] = []
    try:
        counted = await process.inliers(jpeg(query), None, [jpeg(each) for each in pictures])
        for _ in range(10):
            started = time.perf_counter()
            counted = await process.inliers(jpeg(query), None, [jpeg(each) for each in pictures])
            seconds.append(time.perf_counter() - started)
    finally:
        process.close()
    others = [count for place, count in enumerate(counted) if place != 3]
    return {
        "p50_ms": round(statistics.median(seconds) * 1000, 1),
        "inliers_same": counted[3],
        "inliers_others_max": max(others),
    }


def scene(seed: int) -> Image.Image:
    """A picture with corners."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (512, 512), "white")
    draw = ImageDraw.Draw(picture)
    for _ in range(60):
        x, y, width, height = (int(value) for value in rng.integers(10, 400, 4))
        colour = tuple(int(value) for value in rng.integers(0, 255, 3))
        draw.rectangle((x, y, x + width // 4, y + height // 4), fill=colour)
        draw.ellipse((y, x, y + height // 5, x + width // 5), fill=colour[::-1])
    return picture


def jpeg(picture: Image.Image) -> bytes:
    """As a thumbnail rests."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def wire(pool: Pool, has_vectors: bool) -> dict[str, float]:
    """What an answer of so many hits weighs, and takes to pack and unpack."""
    state = ShardState(shard=0, generation=1, applied={0: 1}, lag_ms=0, stale=False, log_id="log")
    hits = tuple(each.hit if has_vectors else msgspec.structs.replace(each.hit, vector=b"") for each in pool)
    answer = ShardAnswer(state=state, hits=hits, total_candidates=1, freshness_met=True, search_ms=1.0)
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(ShardAnswer)
    raw = encoder.encode(answer)
    return {"bytes": len(raw), **timed(lambda: decoder.decode(encoder.encode(answer)))}


def timed(run: Callable[[], object]) -> dict[str, float]:
    """The median of some rounds, in milliseconds of processor time: whoever else is busy here does not count."""
    run()
    seconds = []
    for _ in range(ROUNDS):
        started = time.thread_time()
        run()
        seconds.append(time.thread_time() - started)
    return {"p50_ms": round(statistics.median(seconds) * 1000, 3), "least_ms": round(min(seconds) * 1000, 3)}


def unit(values: Any) -> Vector:
    """Of unit norm."""
    return (values / np.linalg.norm(values)).astype(np.float32)


if __name__ == "__main__":
    main()
