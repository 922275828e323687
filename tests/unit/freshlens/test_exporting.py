"""The columns of an export follow from the Avro schema."""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest

from freshlens import exporting
from freshlens.cli.export import TOPICS
from freshlens.exporting import EXPORTED, Exported, arrow_schema, export
from schemas.errors import UnsupportedSchema
from schemas.feedback import Click
from schemas.framing import CODECS
from topics import administration
from topics.settings import KafkaSettings


class Record(NamedTuple):
    """A message of partition 0."""

    at: int
    raw: bytes

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes:
        return self.raw


MICROSECONDS = pa.timestamp("us", tz="UTC")


def test_times_are_timestamps_and_lists_are_nested() -> None:
    columns = arrow_schema(CODECS["searches"].schema)
    assert columns.field("searched_at").type == MICROSECONDS
    assert columns.field("embedding").type == pa.binary()
    assert columns.field("timings_ms").type == pa.map_(pa.string(), pa.float64())
    shown = columns.field("shown").type.value_type
    assert [(field.name, field.type) for field in shown] == [
        ("product_id", pa.string()), ("position", pa.int32()), ("score", pa.float64()), ("arm", pa.string()),
        ("features", pa.list_(pa.float64())),
    ]  # fmt: skip


def test_a_field_that_may_be_null_may_be_null() -> None:
    columns = arrow_schema(CODECS["clicks"].schema)
    assert (columns.field("dwell_ms").nullable, columns.field("query_id").nullable) == (True, False)


@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_every_field_and_the_place_of_the_record_have_a_column(name: str) -> None:
    fields = [field["name"] for field in CODECS[name].schema["fields"]]
    columns = arrow_schema(CODECS[name].schema)
    assert columns.names == [*fields, "kafka_partition", "kafka_offset"]
    for column in columns:
        assert (column.type == MICROSECONDS) == (
            column.name in ("searched_at", "clicked_at", "window_start", "window_end")
        )


def test_the_command_offers_what_can_be_exported() -> None:
    assert tuple(EXPORTED) == TOPICS


def test_what_only_a_registry_can_decode_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file would say that it has been exported, and no later run would read it again."""
    click = Click("q", "shop", "p", 1, "click", 1_795_200_000_000_000)
    good, garbage = CODECS["clicks"].encode(click), b"garbage"
    registered = CODECS["clicks"].encode_confluent(click, 7)
    kafka = KafkaSettings("127.0.0.1:1")

    def export_of(*values: bytes) -> Exported:
        messages = iter([Record(offset, value) for offset, value in enumerate(values)])
        monkeypatch.setattr(exporting, "records", lambda *_: messages)
        monkeypatch.setattr(exporting.clients, "admin", lambda _: None)
        monkeypatch.setattr(administration, "describe_log", lambda *_: "cluster:clicks")
        monkeypatch.setattr(administration, "begin_offsets", lambda *_: {0: 0})
        monkeypatch.setattr(administration, "end_offsets", lambda *_: {0: len(values)})
        return export(kafka, "clicks", tmp_path, lambda _done, _total: None)

    with pytest.raises(UnsupportedSchema, match="SCHEMA_REGISTRY_URL"):
        export_of(garbage, registered, registered, garbage)
    assert list(tmp_path.iterdir()) == []
    done = export_of(good, garbage, bytes(20))  # which looks as if it were of a registry
    assert (done.rows, done.undecodable) == (1, 2)
