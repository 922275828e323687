"""Replaying a dead letter: with the version it had, and never over a newer delete (HOLES 4, 11, 20)."""

from pathlib import Path

import msgspec
import pytest

from freshlens.dead_letters import Found, Once, Replay, Selection, original, replay_of
from schemas import framing
from schemas.errors import InvalidRecord, KeyMismatch, UndecodableRecord, VersionMissing
from schemas.events import Content, DeadLetter, Offer, Picture, ProductAdded, ProductDeleted, ProductRetry, Source
from schemas.identity import ProductKey
from schemas.join import Rank, Ranks, decide
from schemas.tenants import TenantDeclaration
from schemas.versions import VersionKind
from topics.declarations import DAY_MS, TOMBSTONE_MS
from topics.store import FileStore

APPENDED_MS = 1_795_000_000_000
NOW_MS = APPENDED_MS + 3 * DAY_MS
ADDED = ProductAdded("shop", "p1", content=Content("Mug", pictures=(Picture(uri="https://x/y.jpg"),)), offer=Offer(9.5))
DELETED = ProductDeleted("shop", "p1", reason="sold")
KEY = b"shop/p1"


def letter(topic: str, **over: object) -> DeadLetter:
    source = Source(topic, 2, 17, APPENDED_MS)
    plain = DeadLetter("undecodable-image", "why", source, KEY, None, b"h", 1, APPENDED_MS * 1000)
    return msgspec.structs.replace(plain, **over)


def replayed(
    dead: DeadLetter,
    raw: bytes,
    *,
    versions: VersionKind = VersionKind.MICROSECONDS,
    now_ms: int = NOW_MS,
    horizon_ms: int = TOMBSTONE_MS,
) -> Replay:
    declared = TenantDeclaration("shop", versions)
    return replay_of(dead, raw, lambda _: declared, None, now_ms=now_ms, horizon_ms=horizon_ms)


def retry_in(replay: Replay) -> ProductRetry:
    assert replay.topic == "product-retry"
    assert replay.key == KEY
    return framing.PRODUCT_RETRY.decode(replay.value, ProductRetry)


def test_an_add_goes_to_product_retry_with_the_version_it_had() -> None:
    dead = letter("product-added", version=123, sequence=4)
    retry = retry_in(replayed(dead, framing.PRODUCT_ADDED.encode(ADDED)))
    assert (retry.version, retry.sequence, retry.attempts, retry.not_before) == (123, 4, 0, 0)
    assert retry.source == dead.source
    assert framing.PRODUCT_ADDED.decode(retry.event, ProductAdded) == ADDED


def test_what_was_hot_keeps_its_version_and_its_first_place() -> None:
    dead = letter("product-added-hot", version=123, sequence=4)
    retry = retry_in(replayed(dead, framing.PRODUCT_ADDED.encode(ADDED)))
    assert (retry.version, retry.sequence, retry.source.topic) == (123, 4, "product-added-hot")


def test_an_add_without_a_resolved_version_gets_that_of_its_first_append() -> None:
    retry = retry_in(replayed(letter("product-added"), framing.PRODUCT_ADDED.encode(ADDED)))
    assert (retry.version, retry.sequence) == (APPENDED_MS * 1000, 17)


def test_a_replayed_add_loses_against_a_delete_that_came_after_it() -> None:
    retry = retry_in(replayed(letter("product-added"), framing.PRODUCT_ADDED.encode(ADDED)))
    deleted = Ranks(deleted=Rank(APPENDED_MS * 1000 + 1))
    assert not decide(deleted, Ranks(content=Rank(retry.version, retry.sequence))).after.is_visible


def test_a_letter_from_product_retry_keeps_its_first_source_and_version() -> None:
    first = Source("product-added", 1, 5, APPENDED_MS - DAY_MS)
    inner = ProductRetry(framing.PRODUCT_ADDED.encode(ADDED), first, 77, 5, attempts=40, not_before=9)
    retry = retry_in(replayed(letter("product-retry"), framing.PRODUCT_RETRY.encode(inner)))
    assert (retry.source, retry.version, retry.sequence, retry.attempts) == (first, 77, 5, 0)


def test_a_delete_goes_to_its_own_topic_with_its_version_made_explicit() -> None:
    replay = replayed(letter("product-deleted"), framing.PRODUCT_DELETED.encode(DELETED))
    assert (replay.topic, replay.key) == ("product-deleted", KEY)
    again = framing.PRODUCT_DELETED.decode(replay.value, ProductDeleted)
    assert again == msgspec.structs.replace(DELETED, version=APPENDED_MS * 1000)
    resolved = replayed(letter("product-deleted", version=5, sequence=0), framing.PRODUCT_DELETED.encode(DELETED))
    assert framing.PRODUCT_DELETED.decode(resolved.value, ProductDeleted).version == 5


def test_a_click_goes_to_its_topic_as_it_was() -> None:
    assert replayed(letter("clicks", key=b"q1"), b"raw", now_ms=NOW_MS + TOMBSTONE_MS) == ("clicks", b"q1", b"raw")


@pytest.mark.parametrize("topic", ["product-added", "product-deleted", "product-retry"])
def test_older_than_tombstones_is_refused(topic: str) -> None:
    inner = framing.PRODUCT_ADDED.encode(ADDED)
    raw = {
        "product-added": inner,
        "product-deleted": framing.PRODUCT_DELETED.encode(DELETED),
        "product-retry": framing.PRODUCT_RETRY.encode(
            ProductRetry(inner, Source("product-added", 0, 0, APPENDED_MS), 1, 0, 0, 0)
        ),
    }[topic]
    replayed(letter(topic), raw, now_ms=APPENDED_MS + TOMBSTONE_MS)
    with pytest.raises(InvalidRecord, match="publish the product anew"):
        replayed(letter(topic), raw, now_ms=APPENDED_MS + TOMBSTONE_MS + 1)
    with pytest.raises(InvalidRecord, match="remembered for 2:"):
        replayed(letter(topic), raw, now_ms=NOW_MS, horizon_ms=2 * DAY_MS)


@pytest.mark.parametrize("topic", ["product-added", "product-deleted", "product-retry"])
def test_what_still_cannot_be_processed_is_refused_with_its_reason(topic: str) -> None:
    with pytest.raises(UndecodableRecord):
        replayed(letter(topic), b"garbage")


def test_a_wrong_key_and_a_missing_sequence_are_still_wrong() -> None:
    raw = framing.PRODUCT_ADDED.encode(ADDED)
    with pytest.raises(KeyMismatch):
        replayed(letter("product-added", key=b"shop/p2"), raw)
    with pytest.raises(VersionMissing):
        replayed(letter("product-added"), raw, versions=VersionKind.SEQUENCE)


def test_large_bytes_come_from_the_store(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.put("dead-letters/ab/abc", b"large")
    assert original(letter("clicks", value=b"small"), store) == b"small"
    assert original(letter("clicks", stored_at="dead-letters/ab/abc"), store) == b"large"
    for gone in (letter("clicks", stored_at="dead-letters/ab/gone"), letter("clicks")):
        with pytest.raises(InvalidRecord):
            original(gone, store)


def test_selections() -> None:
    found = Found(3, 17, letter("product-added"))
    assert found.id == "3:17"
    assert found.product == ("shop", "p1")
    assert Found(3, 17, letter("clicks", key=b"\xff")).product is None
    assert Selection().has(found)
    assert Selection(frozenset(["3:17"]), "undecodable-image", ProductKey("shop", "p1")).has(found)
    failed_at = found.letter.failed_at
    assert Selection(since_us=failed_at, until_us=failed_at + 1).has(found)
    assert not Selection(since_us=failed_at + 1).has(found)
    assert not Selection(until_us=failed_at).has(found)
    for other in (Selection(frozenset(["3:18"])), Selection(code="x"), Selection(product=ProductKey("b", "p1"))):
        assert not other.has(found)


def test_what_failed_again_after_a_replay_is_sent_once() -> None:
    """Or the letters of what cannot be mended would double with each replay."""
    for topic, raw in (
        ("product-added", framing.PRODUCT_ADDED.encode(ADDED)),
        ("product-deleted", framing.PRODUCT_DELETED.encode(DELETED)),
    ):
        once, first = Once(), replayed(letter(topic, version=123, sequence=0), raw)
        again = letter(first.topic, source=Source(first.topic, 0, 99, APPENDED_MS + 5000), attempts=2, version=123)
        assert once.is_new(first)
        assert not once.is_new(replayed(again, first.value))
        assert once.is_new(replayed(letter(topic, version=124), raw))
        assert once.count == 2
