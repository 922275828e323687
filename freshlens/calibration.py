"""From similarities of queries with and without a product to a threshold of no match. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from freshlens.evaluation import Vectors
from query_api.search.no_match import CurvePoint, ModalityCalibration, Score
from schemas.errors import SettingsError

Scores = NDArray[np.float64]

FALSE_REJECTS_MAX = 0.02
"""No more good queries are turned down: an encoder that cannot tell gets a threshold that hardly ever speaks."""
REFUSED_WANTED = 0.99
_POINTS = 101
_QUERIES_MIN = 20


def calibrated(known: Vectors, foreign: Vectors, catalogue: Vectors) -> ModalityCalibration:
    """The score that tells best, and its threshold.

    Args:
        known: (n, dim) unit vectors of queries for what the catalogue has; n >= 20.
        foreign: (m, dim) of queries for what it has not; m >= 20.
        catalogue: (p, dim) of its products.

    Raises:
        SettingsError: too few queries to say anything, or no catalogue.
    """
    check_enough(known=len(known), foreign=len(foreign), catalogue=len(catalogue))
    mean = catalogue.mean(axis=0)
    scored: dict[Score, tuple[Scores, Scores]] = {
        "top": (_top(known, catalogue), _top(foreign, catalogue)),
        "background": (
            _top(known, catalogue) - known.astype(np.float64) @ mean,
            _top(foreign, catalogue) - foreign.astype(np.float64) @ mean,
        ),
    }
    areas = {name: auroc(*pair) for name, pair in scored.items()}
    best: Score = "background" if areas["background"] > areas["top"] else "top"
    good, bad = scored[best]
    level = threshold(good, bad)
    return ModalityCalibration(
        score=best,
        threshold=round(level, 4),
        false_rejects=round(float((good < level).mean()), 4),
        refused=round(float((bad < level).mean()), 4),
        auroc={name: round(area, 4) for name, area in areas.items()},
        known=len(known),
        foreign=len(foreign),
        curve=curve(good, bad),
        mean=[round(float(value), 6) for value in mean] if best == "background" else [],
    )


def check_enough(*, known: int, foreign: int, catalogue: int) -> None:
    """Do nothing if so many queries and products say something; raises SettingsError."""
    if min(known, foreign) < _QUERIES_MIN or catalogue == 0:
        raise SettingsError(
            f"calibration needs a catalogue and at least {_QUERIES_MIN} queries of each kind; there are {known} known "
            f"queries, {foreign} foreign ones and {catalogue} products"
        )


def threshold(known: Scores, foreign: Scores) -> float:
    """The least that refuses 99 % of foreign queries, but never so much that over 2 % of known ones are refused."""
    return float(min(np.quantile(foreign, REFUSED_WANTED), np.quantile(known, FALSE_REJECTS_MAX, method="lower")))


def auroc(known: Scores, foreign: Scores) -> float:
    """How often a known query scores above a foreign one; ties count half."""
    order = np.sort(foreign)
    below = np.searchsorted(order, known, "left") + np.searchsorted(order, known, "right")
    return float(below.mean() / (2 * len(foreign)))


def curve(known: Scores, foreign: Scores) -> list[CurvePoint]:
    """Precision, recall and refusals at thresholds over the whole range of scores, ascending."""
    everything = np.concatenate([known, foreign])
    points = []
    for level in np.quantile(everything, np.linspace(0, 1, _POINTS)).tolist():
        answered, wrong = int((known >= level).sum()), int((foreign >= level).sum())
        precision = answered / max(1, answered + wrong)
        values = (level, precision, answered / len(known), 1 - wrong / len(foreign))
        points.append(CurvePoint(*(round(value, 4) for value in values)))
    return points


def _top(queries: Vectors, catalogue: Vectors) -> Scores:
    parts = [(queries[start : start + 256] @ catalogue.T).max(axis=1) for start in range(0, len(queries), 256)]
    return np.concatenate(parts).astype(np.float64)
