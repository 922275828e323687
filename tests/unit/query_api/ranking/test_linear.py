"""The linear score: what each signal adds, and what it does not."""

import numpy as np
import pytest

from query_api.ranking.linear import attribute_match, fresh, linear, personal
from query_api.ranking.ranked import Ranked
from query_api.ranking.settings import RankSettings, Weights
from schemas.filters import parse_filter
from tests.unit.query_api.doubles import vector_of
from tests.unit.query_api.ranking.made import DAY_US, NOW_US, asked, hit, ids, is_explained


def pool(*hits: object) -> list[Ranked]:
    return [Ranked(each) for each in hits]  # type: ignore[arg-type]


def test_alone_the_visual_score_is_the_similarity() -> None:
    ranked = linear(pool(hit("a", 0.9), hit("b", 0.9), hit("c", 0.3)), asked())
    assert [(each.hit.product_id, each.score, dict(each.stages)) for each in ranked] == [
        ("a", 0.9, {"visual": 0.9}),
        ("b", 0.9, {"visual": 0.9}),
        ("c", 0.3, {"visual": 0.3}),
    ]


def test_preferred_attributes_count_by_their_share() -> None:
    prefer = parse_filter({"color": "red", "price": {"lt": 10}})
    both = hit("both", 0.1, attributes={"color": "red"}, price=5.0)
    one, none = hit("one", 0.2, attributes={"color": "red"}, price=50.0), hit("none", 0.3)
    question = asked(prefer=prefer, weights=Weights(attributes=1.0))
    ranked = linear(pool(none, one, both), question)
    assert ids(ranked) == ["both", "one", "none"]
    assert [each.stages["attributes"] for each in ranked] == [1.0, 0.5, 0.0]
    assert is_explained(ranked)


def test_words_of_the_query_are_looked_for_in_title_and_attributes() -> None:
    question = asked(text="Red DRESS")
    hits = pool(
        hit("x", title="A dress", attributes={"color": "red"}), hit("y", title="reddish"), hit("z", attributes={"n": 1})
    )
    assert attribute_match(hits, question).tolist() == [1.0, 0.0, 0.0]
    assert attribute_match(pool(hit("x", attributes={"tags": ("dress", "summer")})), question).tolist() == [0.5]


def test_a_picture_that_belies_its_text_comes_later_and_is_not_hidden() -> None:
    hits = pool(hit("wrong", 0.52, agreement=-0.5), hit("right", 0.5, agreement=0.9), hit("unknown", 0.49))
    assert ids(linear(hits, asked())) == ["wrong", "right", "unknown"]
    ranked = linear(hits, asked(weights=Weights(agreement=0.1)))
    assert ids(ranked) == ["right", "unknown", "wrong"]
    assert is_explained(ranked)


def test_without_anything_to_match_attributes_count_nothing() -> None:
    assert linear(pool(hit("a", 0.5)), asked(weights=Weights(attributes=2.0)))[0].score == 0.5


def test_freshness_halves_with_every_half_life() -> None:
    settings = RankSettings(fresh_half_life_days=10)
    hits = pool(
        hit("new", content_version=NOW_US),
        hit("ten", content_version=NOW_US - 10 * DAY_US),
        hit("twenty", content_version=NOW_US - 20 * DAY_US),
        hit("ahead", content_version=NOW_US + DAY_US),
        hit("sequence", content_version=17),
    )
    assert fresh(hits, asked(settings=settings)).tolist() == [1.0, 0.5, 0.25, 1.0, 0.0]


def test_a_changed_price_makes_nothing_new() -> None:
    old = hit("old", version=NOW_US, content_version=NOW_US - 400 * DAY_US)
    assert fresh(pool(old), asked())[0] < 1e-6


def test_personal_is_the_cosine_with_the_profile_and_never_a_penalty() -> None:
    profile = vector_of("liked")
    hits = pool(hit("liked"), hit("opposite", vector=-profile))
    values = personal(hits, asked(profile=profile))
    assert values[0] == pytest.approx(1.0, abs=2e-3)
    assert values[1] == 0.0
    assert not personal(hits, asked()).any()


def test_nobody_without_a_profile_has_a_personal_share() -> None:
    ranked = linear(pool(hit("a", 0.5)), asked(weights=Weights(personal=5.0)))
    assert dict(ranked[0].stages) == {"visual": 0.5}


def test_equal_scores_keep_the_order_in_which_they_came() -> None:
    hits = pool(*(hit(name, 0.5) for name in "dbca"))
    assert ids(linear(hits, asked(weights=Weights(fresh=1.0)))) == list("dbca")


def test_a_hit_without_a_vector_is_personal_to_nobody() -> None:
    blind = hit("blind")
    without = Ranked(type(blind)(**{**{n: getattr(blind, n) for n in blind.__struct_fields__}, "vector": b""}))
    assert np.array_equal(personal([without], asked(profile=vector_of("x"))), [0.0])
