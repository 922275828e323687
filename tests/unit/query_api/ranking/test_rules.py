"""What a rule file may say, when a rule counts, and how versions follow each other."""

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from query_api.ranking.rule_store import RuleBook, RuleStore
from query_api.ranking.rules import active, parse_rules, pins
from schemas.errors import InvalidProduct, InvalidQuery, NotFound, RulesChanged, StorageError
from topics.store import FileStore

NOON_US = 1_795_262_400_000_000  # 2026-11-21T12:00:00Z
PIN = {"name": "campaign", "action": "pin", "products": ["a", "b"], "position": 2}
BOOST = {"name": "own brand", "action": "boost", "where": {"brand": "own"}, "by": 0.5}


def parsed(*rules: dict) -> tuple:
    return parse_rules(json.dumps({"rules": rules}).encode())


def test_a_file_is_read() -> None:
    campaign, brand = parsed(PIN, BOOST)
    assert (campaign.products, campaign.position) == (("a", "b"), 2)
    assert brand.where == {"brand": "own"}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({**PIN, "position": 0}, "position"),
        ({**PIN, "products": []}, "a pin names products"),
        ({**PIN, "where": {"a": 1}}, "has no where"),
        ({**PIN, "by": 1}, "no by"),
        ({**PIN, "products": ["x" * 600]}, "campaign"),
        ({**PIN, "prodcuts": ["a"]}, "prodcuts"),
        ({**BOOST, "where": None}, "no product"),
        ({**BOOST, "where": {"price": {"over": 1}}}, "own brand"),
        ({**BOOST, "by": -1}, "by"),
        ({**BOOST, "action": "revive"}, "revive"),
        ({**BOOST, "starts": "2026-01-02T00:00:00Z", "ends": "2026-01-01T00:00:00Z"}, "ends before"),
        ({**BOOST, "starts": "2026-01-02T00:00:00"}, "starts"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(rule: dict, said: str) -> None:
    with pytest.raises(InvalidQuery, match=said):
        parsed(rule)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"rules": 1}', b"\xff", b'{"rules": [], "tenant": "x"}'])
def test_what_is_no_file_of_rules_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidQuery):
        parse_rules(raw)


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidQuery, match="name of its own"):
        parsed(PIN, {**BOOST, "name": "campaign"})


def test_windows_words_and_kinds_of_search() -> None:
    window = {**PIN, "starts": "2026-11-21T12:00:00Z", "ends": "2026-11-21T14:00:00+01:00"}

    def names(now_us: int = NOON_US, text: str | None = None, modality: str = "image", **over: object) -> list[str]:
        rules = parsed({**window, **over})
        return [each.rule.name for each in active(rules, now_us=now_us, text=text, modality=modality)]

    assert names() == ["campaign"]
    assert names(NOON_US - 1) == names(NOON_US + 3_600_000_000) == []
    assert names(words=["Dress"]) == names(text="dressed", words=["Dress"]) == []
    assert names(text="A red dress", words=["Dress"]) == ["campaign"]
    assert names(modalities=["text"]) == []
    assert names(modality="text", modalities=["text"]) == ["campaign"]


def test_the_first_rule_that_pins_a_product_decides() -> None:
    other = {**PIN, "name": "other", "products": ["b", "c"], "position": 1}
    found = pins(active(parsed(PIN, other, BOOST), now_us=NOON_US, text=None, modality="image"))
    assert found == {"a": (2, "campaign"), "b": (3, "campaign"), "c": (2, "other")}


def test_versions_follow_each_other_and_none_is_lost(tmp_path: Path) -> None:
    store = RuleStore(FileStore(tmp_path))
    assert store.newest("shop").version == 0
    first = store.write("shop", parsed(PIN), after=0, set_at_us=1, set_by="me")
    store.write("shop", parsed(BOOST), after=1, set_at_us=2)
    with pytest.raises(RulesChanged, match="version 2, not 1"):
        store.write("shop", (), after=1, set_at_us=3)
    with pytest.raises(RulesChanged):
        store.write("shop", (), after=7, set_at_us=3)
    assert store.read("shop", 1) == first
    assert [rule.name for rule in store.newest("shop").rules] == ["own brand"]
    assert store.versions() == {"shop": [1, 2]}
    assert store.newest("other").version == 0
    with pytest.raises(NotFound):
        store.read("shop", 3)
    with pytest.raises(InvalidProduct):
        store.newest("../shop")


def test_of_two_who_write_at_once_one_is_told(tmp_path: Path) -> None:
    class Late(FileStore):
        def put_if_absent(self, key: str, data: bytes) -> bool:
            super().put_if_absent(key, data.replace(b'"late"', b'"first"'))
            return super().put_if_absent(key, data)

    with pytest.raises(RulesChanged):
        RuleStore(Late(tmp_path)).write("shop", (), after=0, set_at_us=1, set_by="late")


def test_the_book_follows_and_a_damaged_version_leaves_the_one_before(tmp_path: Path) -> None:
    objects = FileStore(tmp_path)
    store, book = RuleStore(objects), RuleBook(RuleStore(objects))
    book.refresh()
    assert book.of("shop").version == 0
    store.write("shop", parsed(PIN), after=0, set_at_us=1)
    assert book.of("shop").version == 0
    book.refresh()
    assert book.of("shop").version == 1
    objects.put("rules/shop/00000002.json", b'{"tenant": "shop", "version": 2, "rules": [{"name": "x"}]}')
    objects.put("rules/shop/notes.txt", b"")
    with capture_logs() as logs:
        book.refresh()
    assert book.of("shop").version == 1
    assert logs[0]["event"] == "rules ignored"
    store.write("shop", (), after=2, set_at_us=3)
    book.refresh()
    assert (book.of("shop").version, book.of("shop").rules) == (3, ())


def test_a_version_that_calls_itself_another_is_damaged(tmp_path: Path) -> None:
    objects = FileStore(tmp_path)
    objects.put("rules/shop/00000001.json", b'{"tenant": "other", "version": 1}')
    with pytest.raises(StorageError, match="call themselves other"):
        RuleStore(objects).read("shop", 1)


def test_without_a_store_there_are_no_rules() -> None:
    book = RuleBook()
    book.refresh()
    assert book.of("shop").rules == ()
