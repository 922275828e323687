"""What a catalogue lacks is not in it, and an encoder is measured by whether it can tell."""

import numpy as np
import pytest

from training.foreign import Trial, foreign_figures, nothings, scored, trials
from training.pack import PIXELS, Clothing, Drawn, Grocery, Photos, draw_products

KINDS = {
    "grocery category not in the catalogue", "garment category not in the catalogue", "drawn photo, real catalogue",
    "real photo, drawn catalogue", "noise", "one colour", "texture", "empty background",
}  # fmt: skip


def marked(labels: np.ndarray) -> np.ndarray:
    """Pictures whose corner says what they show."""
    pictures = np.zeros((len(labels), PIXELS, PIXELS, 3), np.uint8)
    pictures[:, 0, 0, 0] = labels
    return pictures


def reads_the_mark(images: np.ndarray) -> np.ndarray:
    return np.eye(256, dtype=np.float32)[images[:, 0, 0, 0].astype(int)]


@pytest.fixture(scope="module")
def data() -> tuple[Grocery, Clothing, Drawn]:
    """Twelve groceries in four categories, five kinds of garments, twenty drawn: marked from 0, 100 and 200."""
    grocery_labels, garments = np.arange(48) % 12, np.arange(40) % 5
    texts = [(f"title {n}", "", f"category {n % 4}") for n in range(12)]
    photos = Photos(marked(grocery_labels), grocery_labels)
    worn = Photos(marked(100 + garments), garments)
    drawn = draw_products(20, seed=3, photos_each=1)
    drawn.studio[:, 0, 0, 0] = 200 + np.arange(20)
    drawn.phone[:, 0, 0, 0, 0] = 200 + drawn.photographed
    grocery = Grocery(marked(np.arange(12)), texts, photos, photos, photos)
    return grocery, Clothing([f"garment {n}" for n in range(5)], worn, worn), drawn


def test_no_foreign_query_has_its_thing_in_the_catalogue_and_every_category_is_left_out_once(
    data: tuple[Grocery, Clothing, Drawn],
) -> None:
    made = list(trials(reads_the_mark, *data))
    assert {trial.kind for trial in made} == KINDS
    for kind, queries in (("grocery", 48), ("garment", 40)):
        of_kind = [trial for trial in made if trial.kind.startswith(kind)]
        for trial in of_kind:
            assert (trial.foreign @ trial.catalogue.T).max() == 0
            assert (trial.known @ trial.catalogue.T).max(axis=1).min() == 1
        assert sum(len(trial.foreign) for trial in of_kind) == queries


def test_an_encoder_that_can_tell_has_perfect_figures_and_a_blind_one_those_of_chance(
    data: tuple[Grocery, Clothing, Drawn],
) -> None:
    sees = foreign_figures(scored(trials(reads_the_mark, *data)))
    for kind in KINDS - {"noise", "one colour", "texture", "empty background"}:
        assert sees[kind]["auroc"] == 1
        assert sees[kind]["false_reject_rate_at_95_refused"] == 0
    blind = foreign_figures(scored(trials(lambda images: np.eye(1, 8, dtype=np.float32).repeat(len(images), 0), *data)))
    assert {figures["auroc"] for figures in blind.values()} == {0.5}


def test_rates_are_those_at_the_level_that_is_given() -> None:
    def at(*cosines: float) -> np.ndarray:
        return np.array([[cosine, (1 - cosine**2) ** 0.5] for cosine in cosines], np.float32)

    trial = Trial("any", at(1.0), known=at(0.9, 0.8, 0.6, 0.95), foreign=at(0.1, 0.65))
    figures = foreign_figures(scored(iter([trial])), level=0.7)["any"]
    assert figures["false_reject_rate"] == 0.25
    assert figures["foreign_refused_rate"] == 1
    assert figures["auroc"] == pytest.approx(7 / 8)


def test_pictures_of_nothing_are_of_four_kinds_and_the_same_each_time() -> None:
    first, again = nothings(3, 1), nothings(3, 1)
    assert {kind: pictures.shape for kind, pictures in first.items()} == dict.fromkeys(first, (3, PIXELS, PIXELS, 3))
    assert all((first[kind] == again[kind]).all() for kind in first)
    assert first["one colour"].std(axis=(1, 2)).max() == 0
    assert first["texture"].std(axis=(1, 2)).min() > 1
