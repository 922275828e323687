"""Whether a fine-tuned encoder may replace the one that serves: every gate, and the reason of each refusal.

    python -m training.release --candidate DIR --pairs DIR --catalogue products.jsonl [--queries photos.jsonl]

Exit 0: the candidate's folder has `thresholds.json` and `release.json` now and may be installed. Exit 1: refused, and
`release.json` says why.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image

from freshlens.calibration import threshold
from freshlens.cli.evaluate import encoded_pictures, entries
from freshlens.evaluation import Vectors, ranked_hits
from processors import bundled
from processors.encoders.encoder import Encoder
from processors.encoders.open_clip_encoder import OpenClipEncoder, load_encoder
from processors.encoders.precision import COSINE_MIN, INT8_COSINE_MIN
from schemas.embeddings import Space
from schemas.errors import SettingsError
from topics.store import open_store
from training.calibrate import UNRELATED_TEXTS
from training.clicks import Pair, Shop, load_clicks, load_shop
from training.finetune import Form
from training.foreign import best, nothings
from training.pack import squash

DEPTH = 10
_ROUNDS, _TIMED, _WARM, _JUDGED = 3, 100, 10, 64
_NOTHINGS = 60


@dataclass(frozen=True)
class Limits:
    """By how much a candidate may be worse, in recall@10; and what it has to keep in any case."""

    recall_drop_max: float = 0.0
    tail_drop_max: float = 0.02
    category_drop_max: float = 0.05
    category_queries_min: int = 20
    p99_ms_max: float = 40.0
    parity_min: float = COSINE_MIN
    parity_int8_min: float = INT8_COSINE_MIN


@dataclass(frozen=True)
class Query:
    """A text or a photo (as file), the row of the product that it is for."""

    product: int
    text: str | None = None
    photo: Path | None = None


@dataclass(frozen=True)
class Figures:
    """Of one encoder, on one set of queries.

    Attributes:
        recall: recall@10 over all queries; tail: over those for the half of the asked products with the fewest clicks.
        categories: recall@10 and the number of queries by category.
        p99_ms: of encoding one picture, as it is served here.
        parity: least cosine between what serves and the model at float32.
        is_int8: what serves is rounded to eight bits.
    """

    space: str
    encoder_id: str
    recall: float
    tail: float
    categories: dict[str, tuple[float, int]]
    p99_ms: float
    parity: float
    is_int8: bool = False


def refusals(candidate: Figures, serving: Figures, limits: Limits) -> list[str]:
    """Why the candidate may not replace what serves; empty: it may."""
    reasons = []
    if candidate.space == serving.space and candidate.encoder_id != serving.encoder_id:
        reasons.append(f"space: other weights under the same space {candidate.space}; their vectors would be mixed")
    for name, new, old, drop in (
        ("recall", candidate.recall, serving.recall, limits.recall_drop_max),
        ("tail", candidate.tail, serving.tail, limits.tail_drop_max),
    ):
        if new < old - drop:
            reasons.append(f"{name}: recall@{DEPTH} {new:.3f}, serving has {old:.3f}, may lose {drop:g}")
    for category, (old, asked) in serving.categories.items():
        new = candidate.categories[category][0]
        if asked >= limits.category_queries_min and new < old - limits.category_drop_max:
            reasons.append(
                f"category {category!r}: recall@{DEPTH} {new:.3f} of {asked} queries, serving has {old:.3f}, "
                f"may lose {limits.category_drop_max:g}"
            )
    if candidate.p99_ms > (allowed := max(limits.p99_ms_max, serving.p99_ms)):
        reasons.append(f"p99: {candidate.p99_ms:.1f} ms for one picture, at most {allowed:.1f} ms")
    if candidate.parity < (least := limits.parity_int8_min if candidate.is_int8 else limits.parity_min):
        reasons.append(f"parity: {candidate.parity:.5f} to float32, at least {least:g}")
    return reasons


def measured(encoder: Encoder, name: str, shop: Shop, queries: Sequence[Query], clicks: Counter[int]) -> Figures:
    """Everything that the gates look at; ``shop`` in the form of this encoder, ``clicks`` by row of the product."""
    wanted = np.array([query.product for query in queries])
    catalogue = _in_batches(encoder, shop.pixels)
    found = ranked_hits(_encoded(encoder, queries), wanted, catalogue, np.arange(len(catalogue)), DEPTH).any(axis=1)
    categories = np.array([shop.categories[row] for row in wanted])
    rare = np.array([clicks[row] for row in wanted]) <= np.median([clicks[row] for row in np.unique(wanted)])
    return Figures(
        space=str(encoder.space),
        encoder_id=encoder.encoder_id,
        recall=float(found.mean()),
        tail=float(found[rare].mean()),
        categories={
            str(each): (float(found[categories == each].mean()), int((categories == each).sum()))
            for each in np.unique(categories)
        },
        p99_ms=_p99_ms(encoder, shop.pixels),
        parity=_parity(encoder, name, shop.pixels[:_JUDGED]),
        is_int8=isinstance(encoder, OpenClipEncoder) and encoder.precision.startswith("int8"),
    )


def _encoded(encoder: Encoder, queries: Sequence[Query]) -> Vectors:
    """(n, dim), in the order of the queries."""
    made = np.empty((len(queries), encoder.space.dim), np.float32)
    spoken = [row for row, query in enumerate(queries) if query.text is not None]
    shown = [row for row, query in enumerate(queries) if query.photo is not None]
    for start in range(0, len(spoken), 64):
        rows = spoken[start : start + 64]
        made[rows] = encoder.encode_texts([str(queries[row].text) for row in rows])
    if shown:
        made[shown] = encoded_pictures(encoder, [Path(str(queries[row].photo)) for row in shown], "queries")
    return made


def _in_batches(encoder: Encoder, pixels: NDArray[np.uint8]) -> Vectors:
    return np.concatenate([encoder.encode_images(pixels[start : start + 64]) for start in range(0, len(pixels), 64)])


def _p99_ms(encoder: Encoder, pixels: NDArray[np.uint8]) -> float:
    """The least of several rounds: others on the machine only add to it."""
    rounds = []
    for _ in range(_ROUNDS):
        seconds = []
        for turn in range(_WARM + _TIMED):
            row = turn % len(pixels)
            began = time.perf_counter()
            encoder.encode_images(pixels[row : row + 1])
            seconds.append(time.perf_counter() - began)
        rounds.append(float(np.percentile(seconds[_WARM:], 99) * 1000))
    return min(rounds)


def _parity(encoder: Encoder, name: str, pixels: NDArray[np.uint8]) -> float:
    """Least cosine to the model as open_clip loads it, on pictures of the catalogue rather than drawn noise."""
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{_folder(name)}")
    with torch.inference_mode():
        plain = model.eval().encode_image(Form(model, torch.device("cpu")).plain(pixels)).float()
        reference = torch.nn.functional.normalize(plain, dim=-1).numpy()
    return float((encoder.encode_images(pixels) * reference).sum(axis=1).min())


def _folder(name: str) -> Path:
    return bundled.FOLDER if name == "bundled" else Path(name)


def thresholds(encoder: Encoder, shop: Shop, queries: Sequence[Query]) -> dict[str, float]:
    """Per modality that has queries, the cosine below which there is no match; as `thresholds.json` has them."""
    catalogue = _in_batches(encoder, shop.pixels)
    foreign = {
        "image": lambda: encoder.encode_images(_squashed(encoder.form.size)),
        "text": lambda: encoder.encode_texts(UNRELATED_TEXTS),
    }
    asked = {
        "image": [query for query in queries if query.photo is not None],
        "text": [query for query in queries if query.text is not None],
    }
    return {
        modality: round(threshold(best(_encoded(encoder, known), catalogue), best(foreign[modality](), catalogue)), 4)
        for modality, known in asked.items()
        if known
    }


def _squashed(side: int) -> NDArray[np.uint8]:
    """Pictures of nothing, (n, side, side, 3)."""
    pictures = np.concatenate(list(nothings(_NOTHINGS, seed=5).values()))
    return np.stack([squash(Image.fromarray(each), side) for each in pictures])


def queries_of(pairs: Sequence[Pair], photos: Path | None, where: str | None, shop: Shop) -> list[Query]:
    """Held-out texts, and photos whose product the catalogue has; photos of clicks have left no picture to encode."""
    made = [Query(pair.product, text=pair.text) for pair in pairs if pair.is_held_out and pair.text is not None]
    if photos is not None:
        rows = {product_id: row for row, product_id in enumerate(shop.product_ids)}
        lines = [line for line in entries(photos, where) if line.get("product_id") in rows]
        made += [Query(rows[line["product_id"]], photo=line["path"]) for line in lines]
    if not made:
        raise SettingsError("no queries: the pairs hold out no text; give --queries photos.jsonl")
    return made


def release(candidate: Path, serving: str, given: dict[str, Any], limits: Limits) -> list[str]:
    """Measure both, write `release.json`, and `thresholds.json` if nothing is refused; the reasons of a refusal."""
    encoders = {str(candidate): load_encoder(str(candidate)), serving: load_encoder(serving)}
    store = open_store(given["store"]) if given["store"] else None
    figures, shops = {}, {}
    for name, encoder in encoders.items():
        shop = shops[name] = load_shop(given["catalogue"], encoder.form, store)
        pairs = load_clicks(given["pairs"], shop, Space("none", encoder.space.dim), given["tenant"]).pairs
        queries = queries_of(pairs, given["queries"], given["where"], shop)
        clicks = Counter(pair.product for pair in pairs if not pair.is_held_out)
        figures[name] = measured(encoder, name, shop, queries, clicks)
    reasons = refusals(figures[str(candidate)], figures[serving], limits)
    report = {
        "released": not reasons, "refused_because": reasons, "queries": len(queries), "limits": asdict(limits),
        "candidate": asdict(figures[str(candidate)]), "serving": asdict(figures[serving]),
    }  # fmt: skip
    (candidate / "release.json").write_text(json.dumps(report, indent=1) + "\n")
    if not reasons:
        levels = thresholds(encoders[str(candidate)], shops[str(candidate)], queries)
        (candidate / "thresholds.json").write_text(json.dumps(levels, indent=1) + "\n")
    return reasons


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidate", type=Path, required=True, help="an open_clip folder")
    parser.add_argument("--serving", default="bundled", help="`bundled`, or the open_clip folder that serves now")
    parser.add_argument("--pairs", type=Path, required=True, help="folder of `freshlens export training-pairs --to`")
    parser.add_argument("--catalogue", type=Path, action="append", required=True, help="JSON lines; may be repeated")
    parser.add_argument("--queries", type=Path, help="JSON lines of photos: image and product_id")
    parser.add_argument("--where", help="only photos whose KEY is VALUE, as in split=val")
    parser.add_argument("--store", help="URL of a store whose originals are named by content_hash in the lines")
    parser.add_argument("--tenant", default="default")
    for name, value in asdict(Limits()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    given = vars(parser.parse_args(arguments))
    limits = Limits(**{name: given[name] for name in asdict(Limits())})
    reasons = release(given["candidate"], given["serving"], given, limits)
    for reason in reasons:
        print(f"refused, {reason}")
    if reasons:
        sys.exit(1)
    print(f"released; to install: FRESHLENS_ENCODER={given['candidate'].resolve()}")


if __name__ == "__main__":
    main()
