"""Figures are of the encoder that is given: a perfect one has perfect ones, a blind one those of chance."""

import numpy as np
import pytest

from training.baseline import gradient_vectors
from training.evaluate import by_product, composed_figures, image_figures, rounded, tail_figures
from training.pack import PIXELS, Clothing, Drawn, Grocery, Photos, draw_products
from training.robustness import FAULTS, SEVERITIES, background_swap, faulty, robustness

CLASSES = 6


def marked(labels: np.ndarray) -> np.ndarray:
    """Pictures whose corner pixel says what they show."""
    pictures = np.random.default_rng(1).integers(0, 200, (len(labels), PIXELS, PIXELS, 3), np.uint8)
    pictures[:, 0, 0, 0] = 200 + labels
    return pictures


def reads_the_mark(images: np.ndarray) -> np.ndarray:
    return np.eye(64, dtype=np.float32)[images[:, 0, 0, 0].astype(int) - 200]


def blind(images: np.ndarray) -> np.ndarray:
    return np.eye(1, 64, dtype=np.float32).repeat(len(images), axis=0)


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    made = draw_products(40, seed=3, photos_each=1)
    made.studio[:, 0, 0, 0] = 200 + np.arange(40)
    made.phone[:, 0, 0, 0, 0] = 200 + made.photographed
    return made


@pytest.fixture(scope="module")
def shop() -> tuple[Grocery, Clothing]:
    labels = np.arange(30) % CLASSES
    texts = [(f"title {n}", "It is.", "Apple") for n in range(CLASSES)]
    photos = Photos(marked(labels), labels)
    grocery = Grocery(marked(np.arange(CLASSES)), texts, photos, photos, photos)
    garments = Photos(marked(40 + labels % 2), labels % 2)
    return grocery, Clothing(["dress", "hat"], garments, garments)


def test_a_perfect_encoder_has_perfect_figures(shop: tuple[Grocery, Clothing], drawn: Drawn) -> None:
    figures = image_figures(reads_the_mark, *shop, drawn)
    assert {name for name, figure in figures.items() if figure.mean < 1} == set()
    assert set(by_product(reads_the_mark, shop[0]).values()) == {1.0}


def test_a_blind_encoder_finds_what_chance_finds(shop: tuple[Grocery, Clothing], drawn: Drawn) -> None:
    recall = image_figures(blind, *shop, drawn)["grocery_recall_1"]
    assert recall.mean == pytest.approx(1 / CLASSES)
    assert recall.low < recall.mean < recall.high


def test_composition_asks_for_the_category_in_another_colour(drawn: Drawn) -> None:
    titles = {f"{item.category} in {item.colour}": row for row, item in enumerate(drawn.products)}

    def by_words(texts: list[str]) -> np.ndarray:
        rows = np.zeros((len(texts), 64), np.float32)
        for place, text in enumerate(texts):
            if text in titles:
                rows[place, titles[text]] = 9
        return rows

    figure = composed_figures(reads_the_mark, by_words, drawn)["composed_precision_5"]
    assert 0 <= figure.mean < 0.3, "forty products have few of the wanted ones"
    assert composed_figures(blind, lambda texts: blind(np.zeros(len(texts))), drawn)["composed_precision_5"].mean < 0.2


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_changes_pictures_more_the_worse_it_is(fault: str, drawn: Drawn) -> None:
    clean = drawn.studio[:3].astype(int)
    distance = [np.abs(faulty(drawn.studio[:3], fault, severity) - clean).mean() for severity in SEVERITIES]
    assert 0 < distance[0] < distance[-1]


def test_robustness_begins_with_the_unharmed_photo(shop: tuple[Grocery, Clothing]) -> None:
    curves = robustness(gradient_vectors, shop[0])
    unharmed = {curve["recall_1"][0] for curve in curves.values()}
    assert len(unharmed) == 1
    assert all(len(curve["recall_5"]) == 1 + len(SEVERITIES) for curve in curves.values())


def test_an_encoder_that_sees_nothing_gives_one_answer_on_every_background(drawn: Drawn) -> None:
    assert background_swap(blind, drawn, products=4, backgrounds=2)["same_answer"] == 1
    assert background_swap(gradient_vectors, drawn, products=8, backgrounds=3)["same_answer"] < 1


def test_figures_are_written_with_their_interval(shop: tuple[Grocery, Clothing]) -> None:
    written = rounded(tail_figures(reads_the_mark, shop[0]))
    assert written["grocery_tail_recall_1"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
