"""Photos of what a catalogue does not have, of several kinds, and how well an encoder tells each from what it has.

Nearest to a shop's truth are whole categories that the catalogue lacks: grocery and clothing photos are asked of
catalogues without their category, every category once. Drawn against real, noise, one colour, textures and empty
backgrounds are the easier kinds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freshlens.calibration import auroc, threshold
from freshlens.catalogue import clutter
from freshlens.evaluation import Vectors
from training.evaluate import Encode
from training.pack import PIXELS, Clothing, Drawn, Grocery

Scores = NDArray[np.float64]
FOLDS = 3
NOTHINGS = ("noise", "one colour", "texture", "empty background")
"""Kinds of pictures that show no product."""
_EACH = 150


@dataclass(frozen=True)
class Trial:
    """Unit vectors: a catalogue, queries for what it has, and queries for what it has not."""

    kind: str
    catalogue: Vectors
    known: Vectors
    foreign: Vectors


def trials(encode: Encode, grocery: Grocery, clothing: Clothing, drawn: Drawn, seed: int = 5) -> Iterator[Trial]:
    """Every trial that these pictures give; each picture is encoded once. Several trials may be of one kind."""
    studio, photos = encode(grocery.studio), encode(grocery.val.images)
    worn, worn_queries = encode(clothing.train.images), encode(clothing.validation.images)
    drawings, drawn_photos = encode(drawn.studio), encode(drawn.phone[:, 0])
    categories = np.array([category for _, _, category in grocery.texts])
    for out in _held_out(categories):
        lacks = np.isin(categories, out)
        asked = lacks[grocery.val.labels]
        catalogue = np.concatenate([studio[~lacks], worn])
        yield Trial("grocery category not in the catalogue", catalogue, photos[~asked], photos[asked])
    for out in _held_out(np.arange(len(clothing.names))):
        lacks, asked = np.isin(clothing.train.labels, out), np.isin(clothing.validation.labels, out)
        catalogue = np.concatenate([worn[~lacks], studio])
        yield Trial("garment category not in the catalogue", catalogue, worn_queries[~asked], worn_queries[asked])
    real, real_queries = np.concatenate([studio, worn]), np.concatenate([photos, worn_queries])
    yield Trial("drawn photo, real catalogue", real, real_queries, drawn_photos)
    yield Trial("real photo, drawn catalogue", drawings, drawn_photos, real_queries)
    everything, known = np.concatenate([real, drawings]), np.concatenate([photos, drawn_photos])
    for kind, pictures in nothings(_EACH, seed).items():
        yield Trial(kind, everything, known, encode(pictures))


def _held_out(categories: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """In turn, each third of the categories; their order is mixed, since neighbours are alike."""
    names = np.random.default_rng(0).permutation(np.unique(categories))
    for fold in range(FOLDS):
        yield names[fold::FOLDS]


def nothings(count: int, seed: int) -> dict[str, NDArray[np.uint8]]:
    """By kind, (count, PIXELS, PIXELS, 3) pictures that show no product."""
    rng = np.random.default_rng(seed)
    side = (PIXELS, PIXELS, 3)
    return {
        "noise": rng.integers(0, 256, (count, *side), np.uint8),
        "one colour": np.broadcast_to(rng.integers(0, 256, (count, 1, 1, 3), np.uint8), (count, *side)).copy(),
        "texture": np.stack([_texture(rng) for _ in range(count)]),
        "empty background": np.stack([np.asarray(clutter(PIXELS, rng)) for _ in range(count)]),
    }


def _texture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Stripes, or two stripes across each other, between two colours, with a little grain."""
    across, down = np.meshgrid(np.linspace(0, 1, PIXELS), np.linspace(0, 1, PIXELS))
    wave = np.zeros((PIXELS, PIXELS))
    for _ in range(rng.integers(1, 3)):
        angle, waves = rng.uniform(0, np.pi), rng.uniform(2, 30)
        wave += np.sin(2 * np.pi * (waves * (np.cos(angle) * across + np.sin(angle) * down) + rng.random()))
    share = ((wave - wave.min()) / np.ptp(wave))[..., None]
    one, other = rng.integers(0, 256, (2, 3))
    grained = share * one + (1 - share) * other + rng.normal(0, 6, (PIXELS, PIXELS, 1))
    return np.clip(grained, 0, 255).astype(np.uint8)


def best(queries: Vectors, catalogue: Vectors) -> Scores:
    """(n,) cosines of each query's nearest product."""
    parts = [(queries[start : start + 256] @ catalogue.T).max(axis=1) for start in range(0, len(queries), 256)]
    return np.concatenate(parts).astype(np.float64)


def scored(made: Iterator[Trial]) -> dict[str, tuple[Scores, Scores]]:
    """By kind, the best cosines of known and of foreign queries, trials of one kind together."""
    scores: dict[str, list[tuple[Scores, Scores]]] = {}
    for trial in made:
        pair = best(trial.known, trial.catalogue), best(trial.foreign, trial.catalogue)
        scores.setdefault(trial.kind, []).append(pair)
    return {
        kind: (np.concatenate([known for known, _ in pairs]), np.concatenate([foreign for _, foreign in pairs]))
        for kind, pairs in scores.items()
    }


def foreign_figures(
    scores: Mapping[str, tuple[Scores, Scores]], level: float | None = None
) -> dict[str, dict[str, float]]:
    """By kind: AUROC; what is turned down of known and of foreign queries at ``level``; the price of refusing 95 %.

    Args:
        level: the cosine below which there is no match; None: for each kind its own, as `freshlens calibrate` sets it.
    """
    figures = {}
    for kind, (known, foreign) in scores.items():
        at = threshold(known, foreign) if level is None else level
        strict = float(np.quantile(foreign, 0.95))
        values = {
            "auroc": auroc(known, foreign),
            "cosine_min": at,
            "false_reject_rate": float((known < at).mean()),
            "foreign_refused_rate": float((foreign < at).mean()),
            "false_reject_rate_at_95_refused": float((known < strict).mean()),
        }
        figures[kind] = {name: round(value, 4) for name, value in values.items()}
    return figures
