"""Do two pictures show the same thing? Local features (ORB) matched, and a homography through them by RANSAC. Pure."""

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

_FEATURES_MAX = 800
_RATIO = 0.8
"""A match counts when the second best is clearly worse (Lowe 2004)."""
_REPROJECTION_PX = 5.0
_ITERATIONS = 500
_MATCHES_MIN = 8

Grey = npt.NDArray[np.uint8]


class LocalFeatures(NamedTuple):
    """Points (n, 2) float32 and their descriptors (n, 32) uint8."""

    points: npt.NDArray[np.float32]
    descriptors: npt.NDArray[np.uint8]


def grey_of(raw: bytes) -> Grey | None:
    """A thumbnail of ours as (height, width) uint8; None for bytes that are none."""
    picture: Any = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_GRAYSCALE) if raw else None
    return None if picture is None else np.asarray(picture, np.uint8)


def local_features(picture: Grey) -> LocalFeatures:
    """The points of a picture that can be found again, turned and scaled as it may be."""
    orb: Any = cv2.ORB.create(nfeatures=_FEATURES_MAX)  # type: ignore[attr-defined,unused-ignore]
    points, descriptors = orb.detectAndCompute(picture, None)
    if descriptors is None:
        return LocalFeatures(np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8))
    return LocalFeatures(np.array([point.pt for point in points], np.float32), descriptors)


def inliers(query: LocalFeatures, other: LocalFeatures) -> int:
    """How many points of one picture lie in the other as one plane seen from elsewhere would put them; 0 for no plane.

    Deterministic: the draws of RANSAC begin with the same seed.
    """
    if min(len(query.points), len(other.points)) < _MATCHES_MIN:
        return 0
    pairs: Any = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(query.descriptors, other.descriptors, k=2)
    good = [pair[0] for pair in pairs if len(pair) == 2 and pair[0].distance < _RATIO * pair[1].distance]
    if len(good) < _MATCHES_MIN:
        return 0
    cv2.setRNGSeed(0)
    here = np.array([query.points[match.queryIdx] for match in good], np.float32)
    there = np.array([other.points[match.trainIdx] for match in good], np.float32)
    plane, mask = cv2.findHomography(here, there, cv2.RANSAC, _REPROJECTION_PX, maxIters=_ITERATIONS)
    if plane is None or mask is None or not _is_plausible(plane):
        return 0
    return int(mask.sum())


def _is_plausible(plane: Any) -> bool:
    """Whether a plane was turned, scaled or tilted, not folded or mirrored: its area keeps its sign, and some size."""
    area = float(np.linalg.det(np.asarray(plane)[:2, :2]))
    return 0.01 < area < 100.0
