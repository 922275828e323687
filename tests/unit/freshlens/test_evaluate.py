"""What `freshlens evaluate` calls relevant."""

from pathlib import Path

import numpy as np
import pytest

from freshlens.cli.evaluate import measures

PRODUCTS = [
    {"product_id": "a", "category": "mug"},
    {"product_id": "b", "category": "mug"},
    {"product_id": "c", "category": "lamp"},
]
VECTORS = np.eye(3, dtype=np.float32)


def test_a_photo_is_matched_by_product_and_its_products_category() -> None:
    queries = np.array([[0.9, 0.1, 0.0], [0.6, 0.5, 0.1]], np.float32)
    figures = measures(queries, [{"product_id": "a"}, {"product_id": "b"}], VECTORS, PRODUCTS)
    assert figures["recall@1"] == 0.5
    assert figures["recall@5"] == 1.0
    assert figures["mrr"] == pytest.approx((1 + 1 / 2) / 2)
    assert figures["p@5"] == pytest.approx(2 / 5)


def test_a_photo_of_no_catalogued_product_counts_for_its_category_only() -> None:
    figures = measures(VECTORS[2:], [{"category": "lamp"}], VECTORS, PRODUCTS)
    assert set(figures) == {"p@5"}
    assert figures["p@5"] == pytest.approx(1 / 5)


def test_a_picture_of_the_catalogue_is_no_answer_to_itself() -> None:
    products = [{**entry, "path": Path(f"{entry['product_id']}.jpg")} for entry in PRODUCTS]
    figures = measures(VECTORS[:1], [{"product_id": "a", "category": "mug", "path": Path("a.jpg")}], VECTORS, products)
    assert figures == {"p@5": pytest.approx(1 / 5)}, "the other mug alone, once"
