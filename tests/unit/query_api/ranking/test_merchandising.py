"""Rules move what is there: boosts, buries, pins, stock and duplicates."""

import pytest

from query_api.ranking import stock
from query_api.ranking.merchandising import collapse, pin, weigh
from query_api.ranking.rules import ActiveRule, Rule
from query_api.ranking.settings import RankSettings
from tests.unit.query_api.ranking.made import asked, ids, is_explained, scored

LAST = RankSettings(out_of_stock="last")


def pool() -> list:
    return [scored("a", 0.9), scored("b", 0.8), scored("c", 0.6), scored("d", 0.5, attributes={"brand": "own"})]


def rule(action: str, **fields: object) -> ActiveRule:
    return ActiveRule(Rule(name=f"{action} it", action=action, **fields))  # type: ignore[arg-type]


def test_a_boost_is_a_share_of_the_way_to_the_top() -> None:
    ranked = weigh(pool(), [rule("boost", where={"brand": "own"}, by=1.0)])
    assert ids(ranked) == ["a", "d", "b", "c"]
    assert ranked[1].stages["boost"] == pytest.approx(0.4)
    assert ranked[1].rules == ("boost it",)
    assert is_explained(ranked)


def test_a_bury_goes_to_the_bottom_unless_told_less() -> None:
    assert ids(weigh(pool(), [rule("bury", products=("a",))])) == ["b", "c", "d", "a"]
    assert ids(weigh(pool(), [rule("bury", products=("a",), by=0.3)])) == ["b", "a", "c", "d"]


def test_two_rules_add_up() -> None:
    rules = [rule("boost", products=("d",), by=1.0), rule("bury", products=("d",), by=1.0)]
    ranked = weigh(pool(), rules)
    assert ids(ranked) == list("abcd")
    assert ranked[-1].rules == ("boost it", "bury it")


def test_pins_stand_where_they_should_and_scores_still_descend() -> None:
    ranked = pin(pool(), {"d": (1, "p"), "c": (2, "p"), "nobody": (3, "p")}, asked())
    assert ids(ranked) == ["d", "c", "a", "b"]
    assert is_explained(ranked)
    assert ranked[0].rules == ranked[1].rules == ("p",)
    assert "pin" not in ranked[2].stages


def test_a_pin_can_hold_down_and_beyond_the_end_means_last() -> None:
    assert ids(pin(pool(), {"a": (3, "p")}, asked())) == ["b", "c", "a", "d"]
    ranked = pin(pool(), {"a": (20, "p")}, asked())
    assert ids(ranked) == ["b", "c", "d", "a"]
    assert is_explained(ranked)
    assert pin([], {"a": (1, "p")}, asked()) == []


def test_out_of_stock_comes_last_in_its_order_whatever_it_scored() -> None:
    there = [scored("a", 0.9, in_stock=False), scored("b", 0.5), scored("c", 0.4, in_stock=False), scored("d", 0.3)]
    ranked = stock.demote(there, asked())
    assert ids(ranked) == ["b", "d", "a", "c"]
    assert is_explained(ranked)
    assert stock.demote(pool(), asked()) == pool()


def test_no_pin_lifts_what_is_out_of_stock() -> None:
    there = [scored("b", 0.5), scored("d", 0.3), scored("gone", 0.2, in_stock=False)]
    ranked = pin(there, {"gone": (1, "p"), "b": (20, "p")}, asked(settings=LAST))
    assert ids(ranked) == ["d", "b", "gone"]
    assert is_explained(ranked)
    assert ids(pin(there, {"gone": (1, "p")}, asked()))[0] == "gone"


def test_of_duplicates_the_first_stays() -> None:
    there = [
        scored("a", 0.9, dup_group=b"x"), scored("b", 0.8, dup_group=b"x"), scored("c", 0.7), scored("d", 0.6)
    ]  # fmt: skip
    assert ids(collapse(there, asked())) == ["a", "c", "d"]
