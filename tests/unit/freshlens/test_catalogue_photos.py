"""Phone photos: deterministic, changed with severity, still of the same product."""

import numpy as np
import pytest
from PIL import Image

from freshlens.catalogue import clutter, draw, draw_cutout, phone_photo, product


def _rng() -> np.random.Generator:
    return np.random.default_rng(4)


def test_the_same_random_numbers_give_the_same_photo() -> None:
    cutout = draw_cutout(product(8), 96)
    assert phone_photo(cutout, _rng()).tobytes() == phone_photo(cutout, _rng()).tobytes()


@pytest.mark.parametrize("severity", [0.0, 0.5, 1.0])
def test_a_photo_has_the_asked_size_and_no_transparency(severity: float) -> None:
    photo = phone_photo(draw_cutout(product(8), 96), _rng(), severity, size=80)
    assert photo.size == (80, 80)
    assert photo.mode == "RGB"


def test_a_studio_picture_is_cut_out_of_its_background() -> None:
    item = product(2)  # a hoodie
    given = draw(item, 128)
    photo = np.asarray(phone_photo(given, _rng(), 0.0), np.float64)
    scene = np.asarray(phone_photo(Image.new("RGB", (128, 128), "white"), _rng(), 0.0), np.float64)
    changed = np.abs(photo - scene).max(axis=2) > 40
    assert 0.05 < changed.mean() < 0.75


def test_the_product_is_in_the_photo() -> None:
    red = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    red.paste((255, 0, 0, 255), (12, 12, 52, 52))
    photo = np.asarray(phone_photo(red, _rng(), 0.0), np.float64)
    redness = photo[..., 0] - photo[..., 1:].max(axis=2)
    assert (redness > 90).mean() > 0.1


def test_light_varies_more_with_severity() -> None:
    grey = Image.new("RGBA", (48, 48), (128, 128, 128, 255))
    careful, careless = [
        np.std([np.median(np.asarray(phone_photo(grey, np.random.default_rng(n), severity))) for n in range(30)])
        for severity in (0.0, 1.0)
    ]
    assert careless > 1.5 * careful


def test_clutter_comes_in_many_kinds() -> None:
    rng = _rng()
    means = [np.asarray(clutter(48, rng)).mean(axis=(0, 1)) for _ in range(12)]
    assert np.std(means, axis=0).min() > 10
