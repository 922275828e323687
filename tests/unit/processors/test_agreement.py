"""How well pictures and text agree: calibrated by what comes by."""

import numpy as np
import pytest

from processors.watch.agreement import PRODUCTS_MIN, Agreement, Calibration, Moments, text_to_compare
from schemas.events import Content

DIM = 32
RNG = np.random.default_rng(7)
TOPICS = RNG.normal(size=(40, DIM))


def near(topic: int, rng: np.random.Generator) -> np.ndarray:
    vector = TOPICS[topic] + rng.normal(0, 0.6, DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def catalogue(agreement: Agreement, count: int, seed: int) -> list[float | None]:
    rng = np.random.default_rng(seed)
    topics = rng.integers(0, len(TOPICS), count)
    return [agreement.score(near(t, rng)[np.newaxis], f"topic {t}", near(t, rng)) for t in topics]


def test_nothing_is_said_before_enough_was_seen() -> None:
    agreement = Agreement()
    scores = catalogue(agreement, PRODUCTS_MIN + 50, seed=1)
    assert scores[:PRODUCTS_MIN] == [None] * PRODUCTS_MIN
    assert None not in scores[PRODUCTS_MIN + 1 :]


def test_what_belongs_together_scores_high_and_what_does_not_low() -> None:
    agreement, rng = Agreement(), np.random.default_rng(3)
    catalogue(agreement, 1_000, seed=2)
    good = catalogue(agreement, 500, seed=4)
    assert sum(score < 0 for score in good if score is not None) <= 10
    swapped = [
        agreement.calibration.score(float(near(t, rng) @ near((t + 1 + n) % 40, rng)))
        for n in range(10)
        for t in range(40)
    ]
    assert sum(score < 0 for score in swapped if score is not None) >= 360
    assert agreement.calibration.distance > 2


def test_a_model_that_cannot_tell_says_nothing_bad_of_anybody() -> None:
    agreement, rng = Agreement(), np.random.default_rng(5)
    scores = []
    for number in range(1_000):
        vectors = rng.normal(size=(2, DIM))
        picture, text = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        scores.append(agreement.score(picture[np.newaxis], str(number), text))
    told = [abs(score) for score in scores if score is not None]
    assert np.mean(told or [0.0]) < 0.15


def test_the_picture_that_fits_best_counts() -> None:
    agreement, rng = Agreement(), np.random.default_rng(6)
    catalogue(agreement, 500, seed=6)
    right, wrong, text = near(1, rng), near(2, rng), near(1, rng)
    one = agreement.calibration.score(float(right @ text))
    assert agreement.score(np.stack([wrong, right]), "topic 1", text) == one


def test_products_of_one_text_teach_nothing() -> None:
    agreement, rng = Agreement(), np.random.default_rng(8)
    for _ in range(300):
        agreement.score(near(1, rng)[np.newaxis], "the same", near(1, rng))
    assert agreement.calibration.own.count == 0


def test_moments_follow_what_is_usual() -> None:
    moments, values = Moments(), RNG.normal(0.4, 0.1, 1_500)
    for value in values:
        moments.add(float(value))
    assert moments.mean == pytest.approx(values.mean())
    assert moments.variance == pytest.approx(values.var())
    for value in RNG.normal(0.8, 0.1, 20_000):
        moments.add(float(value))
    assert moments.mean == pytest.approx(0.8, abs=0.02)


def test_scores_rise_with_the_cosine_and_stay_between_their_ends() -> None:
    calibration = Calibration(Moments(1_000, 0.5, 0.01), Moments(1_000, 0.2, 0.01))
    scores = [calibration.score(cosine) for cosine in np.linspace(-1, 1, 50)]
    assert scores == sorted(scores)  # type: ignore[type-var]
    assert all(-1 <= score <= 1 for score in scores if score is not None)
    assert calibration.score(0.35) == pytest.approx(0)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (Content(title="A mug", attributes={"category": "mugs"}), "A mug mugs"),
        (Content(title="A mug", attributes={"category": 3}), "A mug"),
        (Content(attributes={"category": "mugs"}), "mugs"),
        (Content(), None),
    ],
)
def test_the_text_is_title_and_category(content: Content, text: str | None) -> None:
    assert text_to_compare(content) == text
