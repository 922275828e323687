"""Batches pair pictures with texts, and augmentation keeps shapes and its seed."""

import numpy as np
import open_clip
import pytest
import torch

from training import batches
from training.augment import DRAWN, PHOTO, augmented, plain
from training.backgrounds import background, before_another
from training.baseline import histogram_vectors
from training.camera import photographed
from training.losses import Memory
from training.nothing import known_tokens, pictures_of_nothing, strange_words, texts_of_nothing
from training.pack import PIXELS, Clothing, Drawn, Grocery, Photos, draw_products


def _pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, PIXELS, PIXELS, 3), np.uint8)


def _photos(count: int, classes: int) -> Photos:
    return Photos(_pictures(count), np.arange(count) % classes)


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return draw_products(80, seed=3)


@pytest.fixture
def source(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> batches.Batches:
    small = batches.Sizes(
        photos=6, staged=2, studio=3, clothing=4, drawn=8, drawn_categories=2, nothing=3, texts_of_nothing=2
    )
    monkeypatch.setattr(batches, "Sizes", lambda: small)
    texts = [(f"title {n}", f"It is thing {n}. Good.", "Apple") for n in range(4)]
    grocery = Grocery(_pictures(4), texts, _photos(12, 4), _photos(8, 4), _photos(4, 4))
    clothing = Clothing(["dress", "hat"], _photos(9, 2), _photos(4, 2))
    return batches.Batches(grocery, clothing, drawn, ["quantum", "lecture"], 32, seed=5)


def test_every_picture_has_a_text_and_a_label(source: batches.Batches) -> None:
    batch = source.next()
    pictures = 6 + 2 + 3 + 4 + 2 * 8 + 3
    assert batch.images.shape == (pictures, 3, 32, 32)
    assert batch.belongs.shape == (pictures, len(batch.texts))
    assert batch.belongs.any(dim=1).all()
    assert [len(batch.photo_labels), len(batch.studio_labels), len(batch.clothing_labels)] == [8, 3, 4]
    assert len(batch.drawn) == len(batch.drawn_kinds) == 8
    assert len(set(batch.drawn_kinds.tolist())) == 2


def test_a_batch_holds_what_the_model_confuses(source: batches.Batches, drawn: Drawn) -> None:
    remembered = Memory(len(drawn.products), 2)
    turn = torch.arange(len(drawn.products)) * 0.01  # on a circle, so that those numbered alike lie side by side
    remembered.keep(torch.stack([turn.cos(), turn.sin()], dim=1), torch.arange(len(drawn.products)))
    numbers = source.next(remembered).drawn.reshape(2, 4)
    kinds = len({item.category for item in drawn.products})
    for seed, *alike in numbers.tolist():
        by_distance = sorted(range(seed % kinds, len(drawn.products), kinds), key=lambda other: abs(other - seed))
        assert {abs(seed - other) for other in alike} <= {abs(seed - other) for other in by_distance[1:4]}
        assert len({seed, *alike}) == 4


def test_a_wish_is_for_another_colour_of_the_same_category(source: batches.Batches, drawn: Drawn) -> None:
    batch = source.next()
    assert len(batch.wishes) == len(batch.drawn)
    by_look = {
        look: drawn.products[number] for number, look in zip(batch.drawn.tolist(), batch.looks.tolist(), strict=True)
    }
    for number, wish, wished in zip(batch.drawn.tolist(), batch.wishes, batch.wished.tolist(), strict=True):
        assert by_look[wished].category == drawn.products[number].category
        assert by_look[wished].colour in wish
    assert (batch.wished != batch.looks).any()


def test_studio_and_phone_picture_of_a_product_share_their_text(source: batches.Batches) -> None:
    batch = source.next()
    studio, phone = batch.belongs[-19:-11], batch.belongs[-11:-3]
    assert torch.equal(studio, phone)


def test_a_photo_never_belongs_to_another_products_title(source: batches.Batches) -> None:
    batch = source.next()
    for row, label in enumerate([*batch.photo_labels.tolist(), *batch.studio_labels.tolist()]):
        said = [text for text, fits in zip(batch.texts, batch.belongs[row], strict=True) if fits]
        assert all(str(label) in text for text in said)


def test_augmentation_repeats_with_its_seed() -> None:
    images = _pictures(3)
    first, second = (augmented(images, PHOTO, 32, torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, augmented(images, PHOTO, 32, torch.Generator().manual_seed(3)))


def test_augmented_values_stay_in_range() -> None:
    out = augmented(_pictures(10), DRAWN, 24, torch.Generator().manual_seed(1))
    assert out.shape == (10, 3, 24, 24)
    assert out.abs().max() <= 1.0 + 1e-5


def test_plain_pictures_are_resized_and_normalised() -> None:
    white = np.full((1, PIXELS, PIXELS, 3), 255, np.uint8)
    assert torch.allclose(plain(white, 32), torch.full((1, 3, 32, 32), 1.0), atol=1e-4)


def test_rare_classes_are_drawn_more_often_than_their_share() -> None:
    photos = Photos(_pictures(10), np.array([0] * 9 + [1]))
    chances = batches._by_class(photos, power=0.5)
    assert chances.sum() == pytest.approx(1)
    assert chances[9] == pytest.approx(0.25)


def test_histograms_are_unit_vectors_that_tell_colours_apart() -> None:
    red, blue = (np.zeros((1, PIXELS, PIXELS, 3), np.uint8) for _ in range(2))
    red[..., 0], blue[..., 2] = 255, 255
    rows = histogram_vectors(np.concatenate([red, red, blue]))
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1, 1])
    assert rows[0] @ rows[1] == pytest.approx(1)
    assert rows[0] @ rows[2] == pytest.approx(0)


def test_pictures_of_nothing_are_background_blank_and_noise() -> None:
    background, blank, noise = pictures_of_nothing(3, np.random.default_rng(5))
    assert noise.std() > 50
    assert blank.std(axis=(0, 1)).max() == 0
    assert 0 < background.std() < noise.std() * 2


def test_nothing_belongs_with_nothing_and_never_with_a_product(source: batches.Batches) -> None:
    batch = source.next()
    assert batch.texts[-2:] != batch.texts[:2]
    assert batch.belongs[-3:, -2:].all()
    assert not batch.belongs[:-3, -2:].any()
    assert not batch.belongs[-3:, :-2].any()


def test_strange_words_are_those_that_no_text_explains() -> None:
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    known = known_tokens(tokenizer, ["a striped teal mug"])
    strange = strange_words(tokenizer, known)
    assert len(strange) > 10_000
    assert not {"mug", "teal"} & set(strange)
    said = texts_of_nothing(20, strange, np.random.default_rng(1))
    assert all(not known[token] for text in said if " " not in text for token in tokenizer([text])[0][1:2])


def test_a_camera_changes_the_share_of_pictures_it_is_told_to_and_is_seeded() -> None:
    pictures = plain(_pictures(20), 32) * 0.5 + 0.5
    one, again = (photographed(pictures.clone(), 0.5, torch.Generator().manual_seed(7)) for _ in range(2))
    changed = (one != pictures).flatten(1).any(dim=1)
    assert changed.sum() == 10
    assert torch.equal(one, again)
    assert 0 <= one.min() <= one.max() <= 1
    assert torch.equal(photographed(pictures.clone(), 0.0, torch.Generator()), pictures)


def _on_white() -> np.ndarray:
    picture = np.full((32, 32, 3), 255, np.uint8)
    picture[8:24, 8:24] = (200, 30, 30)
    picture[14:18, 14:18] = 255  # white within the product is the product's
    return picture


def test_only_the_white_around_a_product_is_its_background() -> None:
    behind = background(_on_white())
    assert behind is not None
    assert behind.sum() == 32 * 32 - 16 * 16
    scene = np.zeros((1, 32, 32, 3), np.uint8)
    changed = before_another(_on_white()[None], 1.0, scene, np.random.default_rng(1))[0]
    assert changed[2, 2].max() < 20
    assert (changed[12:20, 12:20] == _on_white()[12:20, 12:20]).all()


def test_a_photo_without_a_plain_background_stays_as_it_is() -> None:
    photos = _pictures(3)
    assert background(photos[0]) is None
    assert background(np.full((32, 32, 3), 255, np.uint8)) is None  # nothing but white: no product was told from it
    assert (before_another(photos, 1.0, photos, np.random.default_rng(1)) == photos).all()
