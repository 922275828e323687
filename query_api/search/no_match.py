"""When to say that nothing fits: the least similarity of a match, by modality, calibrated for the encoder's space."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import structlog

from processors import bundled
from query_api.settings import BUNDLED_ENCODER, ApiSettings
from schemas.embeddings import Space, Vector
from schemas.errors import TransientError
from topics.store import ObjectStore

log = structlog.get_logger()

Score = Literal["top", "background"]
"""``top``: the best similarity. ``background``: the same less the query's mean similarity to the whole catalogue, since
some queries resemble everything."""


class CurvePoint(msgspec.Struct, frozen=True):
    """At a threshold: the share of answers that are for known queries, of known ones answered, of foreign refused."""

    threshold: float
    precision: float
    recall: float
    refused: float


class ModalityCalibration(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured for one modality, and the threshold that follows.

    Attributes:
        score: the one of those tried that tells known from foreign queries best.
        threshold: queries with less of that score have no match.
        false_rejects: the share of known queries that it turns down.
        refused: the share of foreign queries that it turns down.
        auroc: of each score tried: how often a known query has more than a foreign one; 0.5 is chance.
        known: how many queries for products of the catalogue were tried, and how many for others: ``foreign``.
        mean: (dim,) the mean of the catalogue's vectors, for ``background``.
    """

    score: Score
    threshold: float
    false_rejects: float
    refused: float
    auroc: dict[str, float]
    known: int
    foreign: int
    curve: list[CurvePoint] = []
    mean: list[float] = []


class Calibration(msgspec.Struct, frozen=True):
    """Everything known of one embedding space; rests in the store, where the API reads it at its start."""

    space: str
    modalities: dict[str, ModalityCalibration]


def calibration_key(space: Space) -> str:
    """Where the calibration of a space rests in the store; names of spaces have slashes."""
    return f"calibrations/{hashlib.blake2b(str(space).encode(), digest_size=8).hexdigest()}.json"


def read_calibration(store: ObjectStore, space: Space) -> Calibration | None:
    """The calibration of a space; None without one. Raises what the store raises, and DecodeError for a damaged one."""
    try:
        raw = store.get(calibration_key(space))
    except FileNotFoundError:
        return None
    found = msgspec.json.decode(raw, type=Calibration)
    return found if found.space == str(space) else None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The least similarity of the best hit, by modality (image, text, image+text); absent: none.

    ``means``: of modalities whose threshold is above the query's mean similarity to the catalogue, the (dim,) mean.
    """

    by_modality: Mapping[str, float]
    means: Mapping[str, Vector] = field(default_factory=dict)

    def of(self, modality: str, vector: Vector | None = None) -> float | None:
        """The least similarity of a match for a query; queries by product, vector or filter have none unless set."""
        threshold, mean = self.by_modality.get(modality), self.means.get(modality)
        if threshold is None or mean is None:
            return threshold
        return None if vector is None else threshold + float(vector @ mean)

    def rejects(self, modality: str, best: float | None, vector: Vector | None = None) -> bool:
        """Whether the best similarity found (None: nothing was found) is no match."""
        threshold = self.of(modality, vector)
        return threshold is not None and best is not None and best < threshold


def load_thresholds(settings: ApiSettings, store: ObjectStore | None = None) -> Thresholds:
    """Those of the encoder's file, unless ``freshlens calibrate`` found others, unless the settings name others."""
    found = _beside_the_model(settings.encoder)
    measured = _measured(store, settings.lane.space)
    found.update({modality: each.threshold for modality, each in measured.items()})
    means = {name: np.array(each.mean, np.float32) for name, each in measured.items() if each.score == "background"}
    given = {"image": settings.no_match_image, "text": settings.no_match_text}
    for modality, value in given.items():
        if value is not None:
            found[modality] = value
            means.pop(modality, None)
    if "image+text" not in found and {"image", "text"} <= found.keys() and not means:
        # A mixed query lies between its parts, so the more lenient threshold is the one that is never wrong.
        found["image+text"] = min(found["image"], found["text"])
    return Thresholds(found, means)


def _measured(store: ObjectStore | None, space: Space) -> dict[str, ModalityCalibration]:
    try:
        calibration = read_calibration(store, space) if store else None
    except (OSError, TransientError, msgspec.DecodeError) as error:
        log.error("calibration unreadable", error=str(error))
        return {}
    if calibration is None:
        return {}
    return {
        name: each
        for name, each in calibration.modalities.items()
        if each.score == "top" or len(each.mean) == space.dim
    }


def _beside_the_model(encoder: str) -> dict[str, float]:
    """What ``thresholds.json`` says in the folder of the bundled model or of a checkpoint."""
    folder = bundled.FOLDER if encoder == BUNDLED_ENCODER else Path(encoder).expanduser()
    try:
        values = msgspec.json.decode((folder / bundled.THRESHOLDS.name).read_bytes())
        return {name: float(values[name]) for name in ("image", "text", "image+text") if name in values}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        log.error("thresholds unreadable", error=str(error))
        return {}
