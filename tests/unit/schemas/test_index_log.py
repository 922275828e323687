"""What every reader of index-log agrees to be void (HOLES 18)."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from schemas.embeddings import Space, to_fp16
from schemas.errors import LogRecordUnreadable
from schemas.events import Source
from schemas.framing import INDEX_LOG, PRODUCT_ADDED, _fingerprint
from schemas.identity import ProductKey, partition_of
from schemas.index_log import VIEWS_MAX, IndexedContent, IndexedDelete, IndexedView, IndexLogRecord, Void, read
from schemas.join import Rank
from schemas.layout import Layout

SPACE, LAYOUT = Space("test", 4), Layout(8, 2)
PARTITION = partition_of(ProductKey("shop", "p1"), 8)
UNIT = to_fp16(np.array([1, 0, 0, 0], np.float32))
CONTENT = IndexedContent(
    Rank(5), "test", "a title", None, {"colour": "red"}, (IndexedView(b"h" * 16, "vector", UNIT),), b"d"
)
RECORD = IndexLogRecord("shop", "p1", Source("product-added", 0, 3, 1000), CONTENT)
replace = msgspec.structs.replace


def read_record(record: IndexLogRecord, partition: int = PARTITION) -> IndexLogRecord | Void:
    return read(INDEX_LOG.encode(record), partition=partition, layout=LAYOUT, space=SPACE)


def content_with(**changes: object) -> IndexLogRecord:
    return replace(RECORD, content=replace(CONTENT, **changes))


def with_vector(values: list[float]) -> IndexLogRecord:
    return content_with(views=(IndexedView(b"h" * 16, "vector", np.array(values, "<f2").tobytes()),))


def test_a_good_record_is_read() -> None:
    assert read_record(RECORD) == RECORD
    assert RECORD.ranks.content == Rank(5)
    deleted = IndexLogRecord("shop", "p1", RECORD.source, deleted=IndexedDelete(Rank(6), "sold out"))
    assert read_record(deleted) == deleted


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (with_vector([float("nan"), 0, 0, 0]), "invalid-vector"),
        (with_vector([float("inf"), 0, 0, 0]), "invalid-vector"),
        (with_vector([0, 0, 0, 0]), "invalid-vector"),
        (with_vector([2, 0, 0, 0]), "invalid-vector"),
        (with_vector([1, 0, 0]), "invalid-vector"),
        (content_with(space="another"), "invalid-record"),
        (content_with(views=CONTENT.views * (VIEWS_MAX + 1)), "invalid-record"),
        (replace(RECORD, tenant="A/b"), "invalid-tenant"),
        (replace(RECORD, product_id=""), "invalid-product-id"),
    ],
)
def test_a_record_that_breaks_a_rule_is_void(record: IndexLogRecord, code: str) -> None:
    void = read_record(record)
    assert isinstance(void, Void)
    assert void.code == code
    assert void.reason


def test_a_record_in_the_wrong_partition_is_void() -> None:
    void = read_record(RECORD, partition=(PARTITION + 1) % 8)
    assert isinstance(void, Void)
    assert f"partition {PARTITION}" in void.reason


@pytest.mark.parametrize(
    "raw",
    [
        None,
        b"",
        b"garbage",
        b"\x00\x00\x00\x00\x01" + b"x" * 20,
        b"\xc3\x01",
        INDEX_LOG.encode(RECORD)[:-5],
        INDEX_LOG.encode(RECORD)[:10],
    ],
)
def test_bytes_that_are_no_record_of_ours_are_void(raw: bytes | None) -> None:
    void = read(raw, partition=0, layout=LAYOUT, space=SPACE)
    assert isinstance(void, Void)
    assert void.code == "undecodable-record"


def newer_schema(change: Callable[[dict[str, object]], object]) -> bytes:
    schema = msgspec.json.decode(msgspec.json.encode(INDEX_LOG.schema))
    change(schema)
    return b"\xc3\x01" + _fingerprint(schema) + INDEX_LOG.encode(RECORD)[10:]


def test_only_an_unknown_fingerprint_stops_the_reader() -> None:
    newer = newer_schema(lambda schema: schema["fields"].append({"name": "new", "type": "long"}))
    with pytest.raises(LogRecordUnreadable, match="partition 3"):
        read(newer, partition=3, layout=LAYOUT, space=SPACE)
    with pytest.raises(LogRecordUnreadable):
        read(PRODUCT_ADDED._header + b"x", partition=3, layout=LAYOUT, space=SPACE)
