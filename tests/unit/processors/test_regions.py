"""Where objects may be in a picture."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from processors.pictures.regions import REGIONS_MAX, Region, overlap, propose

BOXES = (Region(0.05, 0.1, 0.35, 0.5), Region(0.6, 0.05, 0.3, 0.35), Region(0.55, 0.55, 0.35, 0.35))
COLOURS = ("#a02020", "#206030", "#2040a0")


def picture(boxes: tuple[Region, ...], background: str = "#f0efe8", size: tuple[int, int] = (400, 300)) -> np.ndarray:  # type: ignore[type-arg]
    canvas = Image.new("RGB", size, background)
    drawing = ImageDraw.Draw(canvas)
    for box, colour in zip(boxes, COLOURS, strict=False):
        left, top = box.x * size[0], box.y * size[1]
        drawing.ellipse((left, top, left + box.width * size[0], top + box.height * size[1]), fill=colour)
    return np.asarray(canvas)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    ("background", "size"), [("#ffffff", (400, 300)), ("#405060", (300, 400)), ("#101010", (64, 64))]
)
def test_every_object_has_a_box(count: int, background: str, size: tuple[int, int]) -> None:
    found = propose(picture(BOXES[:count], background, size))
    assert len(found) == count
    for box in BOXES[:count]:
        assert max(overlap(box, region) for region in found) > 0.5
    assert all(r.x >= 0 and r.y >= 0 and r.x + r.width <= 1.0001 and r.y + r.height <= 1.0001 for r in found)


def test_nothing_to_be_seen() -> None:
    assert propose(np.full((100, 80, 3), 200, np.uint8)) == []
    assert propose(np.zeros((8, 8, 3), np.uint8)) == []


def test_at_most_so_many_and_none_upon_another() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    for seed in range(5):
        rough = np.asarray(Image.fromarray(np.roll(noise, seed, 0)).resize((16, 16)).resize((256, 256)))
        found = propose(rough)
        assert len(found) <= REGIONS_MAX
        assert all(overlap(a, b) <= 0.6 for i, a in enumerate(found) for b in found[:i])
    assert len(propose(picture(BOXES), 2)) == 2


def test_overlap() -> None:
    box = Region(0.1, 0.1, 0.4, 0.4)
    assert overlap(box, box) == pytest.approx(1)
    assert overlap(box, Region(0.6, 0.6, 0.1, 0.1)) == 0
    assert overlap(box, Region(0.3, 0.1, 0.4, 0.4)) == pytest.approx(1 / 3)
