"""Measures of ranking, on rankings small enough to count by hand."""

import numpy as np
import pytest

from freshlens.evaluation import (
    bootstrap,
    mean_average_precision,
    mean_reciprocal_rank,
    precision_at,
    ranked_hits,
    recall_at,
)

HITS = np.array([[True, False, True], [False, True, False], [False, False, False]])


def test_hits_are_ranked_by_inner_product() -> None:
    catalogue = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    queries = np.array([[0, 1], [1, 0]], np.float32)
    hits = ranked_hits(queries, np.array([5, 5]), catalogue, np.array([7, 5, 5]), 3)
    assert hits.tolist() == [[True, True, False], [False, True, True]]


def test_the_depth_is_cut_at_the_catalogue() -> None:
    one = np.ones((1, 1), np.float32)
    assert ranked_hits(one, np.array([0]), one, np.array([0]), 10).shape == (1, 1)


@pytest.mark.parametrize("catalogue", [np.empty((0, 2), np.float32), np.ones((1, 3), np.float32)])
def test_what_cannot_be_ranked_is_refused(catalogue: np.ndarray) -> None:
    with pytest.raises(ValueError, match="rank"):
        ranked_hits(np.ones((1, 2), np.float32), np.array([0]), catalogue, np.zeros(len(catalogue), int), 1)


def test_more_queries_than_fit_one_block() -> None:
    vectors = np.eye(600, dtype=np.float32)
    labels = np.arange(600)
    assert recall_at(ranked_hits(vectors, labels, vectors, labels, 1), 1) == 1.0


def test_recall_counts_queries_with_an_answer() -> None:
    assert recall_at(HITS, 1) == pytest.approx(1 / 3)
    assert recall_at(HITS, 2) == pytest.approx(2 / 3)


def test_precision_counts_answers_and_a_short_ranking_misses() -> None:
    assert precision_at(HITS, 3) == pytest.approx((2 / 3 + 1 / 3) / 3)
    assert precision_at(np.array([[True]]), 5) == pytest.approx(0.2)


def test_reciprocal_rank() -> None:
    assert mean_reciprocal_rank(HITS) == pytest.approx((1 + 0.5) / 3)


def test_average_precision() -> None:
    assert mean_average_precision(HITS) == pytest.approx(((1 + 2 / 3) / 2 + 0.5) / 3)


def test_the_interval_holds_the_mean_and_shrinks_with_more_values() -> None:
    few, many = bootstrap([0, 1] * 5), bootstrap([0, 1] * 500)
    assert few.low <= few.mean <= few.high
    assert many.high - many.low < few.high - few.low


def test_no_values_have_no_interval() -> None:
    with pytest.raises(ValueError, match="values"):
        bootstrap([])
