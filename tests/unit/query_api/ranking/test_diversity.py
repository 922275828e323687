"""Maximal marginal relevance against its definition, and what it may not do."""

import numpy as np
import pytest

from query_api.ranking.diversity import diversify, marginal
from query_api.ranking.settings import RankSettings
from query_api.ranking.stages import StageSkipped
from tests.unit.query_api.doubles import vector_of
from tests.unit.query_api.ranking.made import asked, ids, is_explained, scored

RED, BLUE = vector_of("red"), vector_of("blue")


def twins() -> list:
    return [
        scored("red-1", 0.9, vector=RED),
        scored("red-2", 0.89, vector=RED),
        scored("red-3", 0.88, vector=RED),
        scored("blue", 0.7, vector=BLUE),
        scored("worst", 0.1),
    ]


def test_the_second_is_not_the_first_again() -> None:
    ranked = diversify(twins(), asked(diversity=0.5, k=2))
    assert ids(ranked)[:2] == ["red-1", "blue"]
    assert is_explained(ranked)
    assert all("diversity" in each.stages for each in ranked)


def test_nothing_is_lost() -> None:
    assert sorted(ids(diversify(twins(), asked(diversity=0.9, k=3)))) == sorted(ids(twins()))


def test_a_little_changes_little() -> None:
    assert ids(diversify(twins(), asked(diversity=1e-4))) == ids(twins())


@pytest.mark.parametrize("diversity", [0.1, 0.5, 1.0])
def test_it_is_the_greedy_choice(diversity: float) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relevance = np.sort(rng.random(40))[::-1]
    chosen: list[int] = []
    for _ in range(12):
        values = {
            place: (1 - diversity) * relevance[place]
            - diversity * max([0.0, *(float(vectors[place] @ vectors[other]) for other in chosen)])
            for place in range(40)
            if place not in chosen
        }
        chosen.append(max(values, key=lambda place: (round(values[place], 6), -place)))
    picks = marginal(vectors, relevance, diversity, 12)
    assert [place for place, _ in picks[:12]] == chosen
    assert sorted(place for place, _ in picks) == list(range(40))
    values = [value for _, value in picks]
    assert values == sorted(values, reverse=True)


def test_out_of_stock_stays_behind_where_that_is_the_rule() -> None:
    pool = [*twins(), scored("gone", 0.95, vector=BLUE, in_stock=False)]
    ranked = diversify(pool, asked(diversity=0.9, k=6, settings=RankSettings(out_of_stock="last")))
    assert ids(ranked)[-1] == "gone"
    assert ids(diversify(pool, asked(diversity=0.1, k=6)))[0] != "worst"


def test_without_a_vector_it_is_skipped() -> None:
    with pytest.raises(StageSkipped, match="without vectors"):
        diversify(twins(), asked(diversity=0.5, vector=None))


def test_one_or_none_is_left_alone() -> None:
    assert diversify([], asked(diversity=0.5)) == []
    assert diversify(twins()[:1], asked(diversity=0.5)) == twins()[:1]
