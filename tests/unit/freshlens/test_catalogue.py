"""The drawn catalogue: deterministic, distinct, complete on disk, independent of torch."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from freshlens.catalogue import CATEGORIES, draw, draw_cutout, product, write_catalogue
from freshlens.catalogue.kinds import KINDS
from freshlens.catalogue.palette import COLOUR_NAMES, second_colour


def _pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), np.float64)


def test_the_same_number_and_seed_give_the_same_product_and_pixels() -> None:
    assert product(17) == product(17)
    assert draw(product(17), 64).tobytes() == draw(product(17), 64).tobytes()


def test_another_seed_gives_another_product() -> None:
    assert product(17, seed=7).title != product(17, seed=8).title


def test_no_two_products_share_shape_colours_and_pattern() -> None:
    seen = set()
    for number in range(6_000):
        item = product(number)
        second = "" if item.pattern == "plain" else item.second_colour
        seen.add((item.category, tuple(item.style.items()), item.colour, second, item.pattern))
    assert len(seen) == 6_000


def test_every_category_comes_equally_often() -> None:
    counts = dict.fromkeys(CATEGORIES, 0)
    for number in range(200):
        counts[product(number).category] += 1
    assert set(counts.values()) == {10}


def test_the_title_says_what_is_seen() -> None:
    for number in range(100):
        item = product(number)
        assert item.colour in item.title.lower()
        assert all(word.lower() in item.title.lower() for word in item.style.values() if word in item.kind.title)
        assert (item.pattern == "plain") or item.pattern in item.title.lower()


@pytest.mark.parametrize("kind", KINDS, ids=CATEGORIES)
def test_every_shape_of_every_kind_can_be_drawn_and_stays_in_the_frame(kind: object) -> None:
    place = KINDS.index(kind)  # type: ignore[arg-type]
    item = product(place)
    for shape in range(KINDS[place].shapes):
        drawn = draw_cutout(replace(item, style=KINDS[place].style(shape)), 48)
        alpha = np.asarray(drawn.getchannel("A"))
        share = (alpha > 127).mean()
        assert 0.03 < share < 0.85, KINDS[place].style(shape)
        assert (alpha[:, [0, -1]] > 200).mean() < 0.2, KINDS[place].style(shape)


def test_products_of_one_kind_look_different() -> None:
    pictures = [_pixels(draw(product(number), 64)) for number in range(0, 400, len(CATEGORIES))]
    for first, second in pairwise(pictures):
        assert np.abs(first - second).mean() > 2


def test_views_show_the_same_product_differently() -> None:
    item = product(3)
    front, side = _pixels(draw(item, 64)), _pixels(draw(item, 64, view=1))
    assert np.abs(front - side).mean() > 1


def test_a_picture_below_the_smallest_size_is_refused() -> None:
    with pytest.raises(ValueError, match="size"):
        draw(product(0), 8)


def test_second_colours_differ_from_the_first_and_from_each_other() -> None:
    for colour in COLOUR_NAMES:
        seconds = {second_colour(colour, choice) for choice in range(4)}
        assert len(seconds) == 4
        assert colour not in seconds


def test_the_catalogue_on_disk_has_every_key_and_picture(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    listing = write_catalogue(
        tmp_path / "demo", 30, 7, lambda done, count: steps.append((done, count)), size=64, processes=1
    )
    rows = [json.loads(line) for line in listing.read_text(encoding="utf-8").splitlines()]
    assert listing == tmp_path / "demo" / "products.jsonl"
    assert [row["product_id"] for row in rows] == [f"demo-{number:06d}" for number in range(30)]
    keys = "product_id title description category colour pattern material brand price currency stock image"
    assert set(rows[0]) == set(keys.split())
    for row in rows:
        with Image.open(listing.parent / row["image"]) as image:
            assert image.size == (64, 64)
        assert row["price"] > 0
        assert row["stock"] >= 0
    assert steps[-1] == (30, 30)


def test_a_second_run_writes_the_same_bytes(tmp_path: Path) -> None:
    first = write_catalogue(tmp_path / "a", 4, 7, size=48, processes=1)
    second = write_catalogue(tmp_path / "b", 4, 7, size=48, processes=1)
    assert first.read_bytes() == second.read_bytes()
    name = "images/demo-000003.jpg"
    assert (first.parent / name).read_bytes() == (second.parent / name).read_bytes()


def test_spawned_processes_write_what_one_process_writes(tmp_path: Path) -> None:
    one = write_catalogue(tmp_path / "one", 3, 7, size=48, processes=1)
    two = write_catalogue(tmp_path / "two", 3, 7, size=48, processes=2)
    for image in sorted((one.parent / "images").iterdir()):
        assert image.read_bytes() == (two.parent / "images" / image.name).read_bytes()


def test_a_progress_that_raises_ends_the_drawing(tmp_path: Path) -> None:
    def progress(done: int, count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_catalogue(tmp_path, 2_000, progress=progress, size=64, processes=2)
    assert len(list((tmp_path / "images").iterdir())) < 1_000
    assert not (tmp_path / "products.jsonl").exists()


def test_drawing_needs_no_torch() -> None:
    code = "import sys, freshlens.catalogue; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pictures_are_small_as_jpeg() -> None:
    buffer = io.BytesIO()
    draw(product(5), 320).save(buffer, "JPEG", quality=88)
    assert len(buffer.getvalue()) < 60_000
