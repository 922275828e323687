"""Geometric verification: the same picture seen from elsewhere is told from another one; and the process around it."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from query_api.ranking.geometry import grey_of, inliers, local_features
from query_api.ranking.geometry_worker import Job, counts
from query_api.ranking.stages import Picture, StageSkipped
from query_api.ranking.verifier import INLIERS_MIN, Verifier, lifted
from tests.unit.query_api.ranking.made import asked, ids, is_explained, scored
from topics.store import FileStore
from topics.thumbnails import put_thumbnails


def scene(seed: int, side: int = 400) -> np.ndarray:
    """A picture with corners: random rectangles and discs."""
    rng = np.random.default_rng(seed)
    canvas = np.full((side, side, 3), 255, np.uint8)
    for _ in range(60):
        x, y = rng.integers(0, side, 2).tolist()
        w, h = rng.integers(10, 90, 2).tolist()
        colour = rng.integers(0, 255, 3).tolist()
        cv2.rectangle(canvas, (x, y), (x + w, y + h), colour, -1)
        cv2.circle(canvas, (y, x), w // 3, colour[::-1], -1)
    return canvas


def turned(picture: np.ndarray) -> np.ndarray:
    """The scene as a phone would see it: turned, smaller, tilted, darker."""
    side = picture.shape[0]
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    seen = np.array([[40, 20], [side - 60, 50], [side - 30, side - 40], [20, side - 70]], np.float32)
    plane = cv2.getPerspectiveTransform(corners, seen)
    return (cv2.warpPerspective(picture, plane, (side, side)) * 0.8).astype(np.uint8)


def jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def found(one: np.ndarray, other: np.ndarray) -> int:
    first, second = grey_of(jpeg(one)), grey_of(jpeg(other))
    assert first is not None
    assert second is not None
    return inliers(local_features(first), local_features(second))


@pytest.mark.parametrize("seed", range(4))
def test_the_same_seen_from_elsewhere_is_told_from_another(seed: int) -> None:
    assert found(turned(scene(seed)), scene(seed)) >= 2 * INLIERS_MIN
    assert found(turned(scene(seed)), scene(seed + 100)) < INLIERS_MIN


def test_what_has_no_points_has_none_in_common() -> None:
    blank = np.full((200, 200, 3), 255, np.uint8)
    assert found(blank, blank) == 0
    assert grey_of(b"") is None
    assert grey_of(b"no picture") is None


def test_a_job_is_counted_in_its_order_and_again_the_same() -> None:
    job = Job(jpeg(turned(scene(1))), None, (jpeg(scene(2)), jpeg(scene(1)), b"", b"no picture"))
    counted = counts(job)
    assert counted[1] >= 2 * INLIERS_MIN > INLIERS_MIN > max(counted[0], counted[2], counted[3])
    assert counts(job) == counted
    assert counts(Job(b"no picture", None, (jpeg(scene(1)),))) == (0,)


def test_a_crop_is_what_is_compared() -> None:
    two = np.hstack([scene(1), scene(2)])
    left, right = Job(jpeg(two), (0, 0, 0.5, 1), (jpeg(scene(1)),)), Job(jpeg(two), (0.5, 0, 0.5, 1), (jpeg(scene(1)),))
    assert counts(left)[0] > INLIERS_MIN > counts(right)[0]


def test_a_full_match_goes_to_the_top_of_the_ten() -> None:
    pool = [scored(f"p{place}", 0.9 - place / 100) for place in range(12)]
    ranked = lifted(pool, {"p9": 80, "p0": 3, "p5": INLIERS_MIN})
    assert ids(ranked)[0] in ("p0", "p9")
    assert {"p9", "p0"} == set(ids(ranked)[:2])
    assert ids(ranked)[10:] == ["p10", "p11"]
    assert is_explained(ranked)
    facts = {each.hit.product_id: each.inliers for each in ranked}
    assert (facts["p9"], facts["p0"], facts["p1"]) == (80, 3, None)


class Counted:
    """A comparer that knows."""

    def __init__(self, *counts: int) -> None:
        self.asked: list[tuple[bytes, list[bytes]]] = []
        self.counts = list(counts)

    async def inliers(self, query: bytes, crop: object, candidates: list[bytes]) -> list[int]:
        self.asked.append((query, candidates))
        return self.counts[: len(candidates)]


async def test_thumbnails_are_read_from_the_store(tmp_path: Path) -> None:
    store, comparer = FileStore(tmp_path), Counted(0, 99)
    first, second = b"\x01" * 16, b"\x02" * 16
    put_thumbnails(store, "default", first.hex(), {512: b"one"})
    pool = [scored("a", 0.9, content_hash=first), scored("b", 0.8, content_hash=second), scored("c", 0.7)]
    ranked = await Verifier(comparer, store).verify(pool, asked(picture=Picture(raw=b"asked")))
    assert comparer.asked == [(b"asked", [b"one", b""])]
    assert ids(ranked)[0] in ("a", "b")
    assert ranked[-1].inliers is None
    await Verifier(comparer, store).verify(pool, asked(picture=Picture(content_hash=first)))
    assert comparer.asked[1][0] == b"one"
    with pytest.raises(StageSkipped, match="not in the store"):
        await Verifier(comparer, store).verify(pool, asked(picture=Picture(content_hash=second)))
    with pytest.raises(StageSkipped, match="no picture"):
        await Verifier(comparer, store).verify(pool, asked())
