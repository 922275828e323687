"""The columns of an export follow from the Avro schema."""

import pyarrow as pa
import pytest

from freshlens.cli.export import TOPICS
from freshlens.exporting import EXPORTED, arrow_schema
from schemas.framing import CODECS

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
