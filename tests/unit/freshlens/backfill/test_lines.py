"""A row of a dump becomes the event that ``freshlens publish`` would make of it, or says why not."""

from pathlib import Path

import pytest

from freshlens.backfill.dates import DumpDate
from freshlens.backfill.dump import Dump, DumpFile
from freshlens.backfill.lines import Lines, locate_of, source_of
from freshlens.backfill.rows import Row
from freshlens.dead_letters import replay_of
from schemas.errors import InvalidRecord
from schemas.events import DeadLetter, Picture, Source
from schemas.tenants import TenantDeclaration
from schemas.versions import ResolvedVersion, VersionKind
from topics.declarations import TOMBSTONE_MS

NOW_MS = 1_795_200_000_000
AS_OF = NOW_MS * 1000 - 5


def lines(folder: Path) -> Lines:
    dump = Dump((DumpFile(str(folder / "a.jsonl"), "a.jsonl", 0, ""),), "file", "")
    date = DumpDate(VersionKind.MICROSECONDS, AS_OF)
    volatile = TenantDeclaration("shop", volatile=("badge",))
    return Lines(dump, "shop", date, lambda _: volatile, started_at_ms=NOW_MS)


def test_a_row_is_an_event_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a picture")
    found = lines(tmp_path).read(0, Row(7, b'{"product_id": "p", "image": "a.png", "badge": "new", "colour": "red"}'))
    assert found.source == Source("backfill:a.jsonl", 0, 7, NOW_MS)
    assert found.resolved == ResolvedVersion(AS_OF, 7)
    content, offer = found.event.content, found.event.offer
    assert content is not None
    assert offer is not None
    assert content.pictures == (Picture(inline=b"a picture"),)
    assert content.attributes == {"colour": "red"}
    assert offer.attributes == {"badge": "new"}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"no JSON", "invalid-product"),
        (b"[1]", "invalid-product"),
        (b'{"product_id": "p", "title": "no views"}', "content-without-view"),
        (b'{"product_id": "p"}', "empty-event"),
        (b'{"product_id": "", "price": 1}', "invalid-product-id"),
        (b'{"product_id": "p", "image": "nothing.png"}', "invalid-product"),
        (b'{"product_id": "p", "price": 1, "version": 3}', "version-out-of-range"),
        (b'{"product_id": "p", "price": 1, "colour": {"r": 1}, "images": []}', "invalid-attribute"),
    ],
)
def test_a_bad_row_says_why_with_the_code_of_a_live_event(tmp_path: Path, line: bytes, code: str) -> None:
    with pytest.raises(InvalidRecord) as caught:
        lines(tmp_path).read(0, Row(1, line))
    assert caught.value.code == code


def test_the_key_of_a_bad_row_is_told_as_far_as_it_is_known(tmp_path: Path) -> None:
    reader = lines(tmp_path)
    assert reader.key_of(Row(1, b'{"product_id": "p", "price": "cheap"}')) == b"shop/p"
    assert reader.key_of(Row(1, b"no JSON")) is None
    assert reader.key_of(Row(1, b"{}")) is None
    assert reader.key_of(Row(1, b"", "the line is too long")) is None


def test_pictures_beside_a_file_in_a_bucket_are_read_from_there() -> None:
    dump = Dump((DumpFile("shop/dumps/today/a.parquet", "today/a.parquet", 0, ""),), "s3", "")
    locate = locate_of(dump, 0)
    assert locate("pictures/1.png") == Picture(uri="s3://shop/dumps/today/pictures/1.png")
    assert locate("https://shop.example/1.png") == Picture(uri="https://shop.example/1.png")
    assert source_of(dump, 0, 3, NOW_MS).topic == "backfill:today/a.parquet"


def test_the_dead_letter_of_a_row_is_not_replayed_but_loaded_again() -> None:
    source = Source("backfill:a.jsonl", 0, 7, NOW_MS)
    letter = DeadLetter("undecodable-image", "no picture", source, b"shop/p", b"{}", b"", 1, NOW_MS * 1000)
    with pytest.raises(InvalidRecord, match="load the dump again"):
        replay_of(letter, b"{}", TenantDeclaration, None, now_ms=NOW_MS, horizon_ms=TOMBSTONE_MS)
