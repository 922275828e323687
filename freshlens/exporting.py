"""Topics of feedback as Parquet files, for analysts: one file per run, each run going on where the last one stopped."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Message

from freshlens.log_reading import Progress, records
from schemas import framing
from schemas.errors import InvalidRecord, LogChanged
from schemas.feedback import Click, Search, SearchQuality, TrainingPair
from topics import administration, clients
from topics.registry import open_registry
from topics.settings import KafkaSettings

EXPORTED: Mapping[str, type[msgspec.Struct]] = {
    "searches": Search,
    "clicks": Click,
    "search-quality": SearchQuality,
    "training-pairs": TrainingPair,
}
"""The topics that can be exported, and the types of their values."""

_ROWS_PER_GROUP = 10_000
_OFFSETS, _LOG_ID = b"freshlens.next_offsets", b"freshlens.log_id"
_PLAIN = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
}


@dataclass(frozen=True, slots=True)
class Exported:
    """What a run did. ``path`` is None when there was nothing new."""

    path: Path | None
    rows: int
    undecodable: int
    expired: int
    """Records that were removed from the topic before any run had exported them."""


def arrow_schema(avro: Mapping[str, Any]) -> pa.Schema:
    """The columns of a topic: every field by its Avro type, times as timestamps, and where the record was."""
    place = [pa.field("kafka_partition", pa.int32()), pa.field("kafka_offset", pa.int64())]
    return pa.schema([*(_field(field) for field in avro["fields"]), *place])


def export(kafka: KafkaSettings, name: str, folder: Path, progress: Progress) -> Exported:
    """Write what topic ``name`` has beyond the files already in ``folder`` to one more file there.

    Raises:
        LogChanged: the files there are of another log; use another folder.
        BrokerUnavailable: the topic could not be read to its end; nothing is left behind, run it again.
        UnsupportedSchema: ``schema-registry-not-configured``: not one record could be read without; as above.
    """
    folder.mkdir(parents=True, exist_ok=True)
    client, topic = clients.admin(kafka), kafka.topic(name)
    log_id = str(administration.describe_log(client, topic))
    begins, ends = administration.begin_offsets(client, topic), administration.end_offsets(client, topic)
    files = sorted(folder.glob(f"{name}-[0-9]*.parquet"))
    done = _next_offsets(files, log_id)
    starts = {partition: max(begin, done.get(partition, 0)) for partition, begin in begins.items()}
    expired = sum(max(0, begin - done[partition]) for partition, begin in begins.items() if partition in done)
    if all(starts[partition] >= end for partition, end in ends.items()):
        return Exported(None, 0, 0, expired)
    path = folder / f"{name}-{_number(files) + 1:06}.parquet"
    metadata = {_OFFSETS: json.dumps(ends), _LOG_ID: log_id}
    messages = records(kafka, topic, starts, ends, progress)
    rows, undecodable = _write(path, name, metadata, messages, kafka)
    return Exported(path, rows, undecodable, expired)


def _write(
    path: Path, name: str, metadata: Mapping[bytes, str], messages: Iterator[Message], kafka: KafkaSettings
) -> tuple[int, int]:
    """Write all rows under a temporary name; the file appears whole or not at all."""
    codec, registry = framing.CODECS[name], open_registry(kafka)
    schema = arrow_schema(codec.schema).with_metadata(metadata)
    temporary = path.with_suffix(".tmp")
    rows: list[dict[str, Any]] = []
    count = undecodable = 0
    unregistered: InvalidRecord | None = None
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for message in messages:
                try:
                    value = codec.decode(message.value() or b"", EXPORTED[name], registry)
                except InvalidRecord as error:
                    if error.code == "schema-registry-not-configured":
                        unregistered = error
                    undecodable += 1
                    continue
                place = {"kafka_partition": message.partition(), "kafka_offset": message.offset()}
                rows.append({**msgspec.to_builtins(value, builtin_types=(bytes,)), **place})
                count += 1
                if len(rows) == _ROWS_PER_GROUP:
                    writer.write_table(pa.Table.from_pylist(rows, schema))
                    rows = []
            writer.write_table(pa.Table.from_pylist(rows, schema))
        if not count and unregistered is not None:
            raise unregistered  # one such record may be garbage; where all are, they would be lost to every later run
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return count, undecodable


def _next_offsets(files: list[Path], log_id: str) -> dict[int, int]:
    """By partition, where the newest file stopped."""
    if not files:
        return {}
    metadata = pq.read_schema(files[-1]).metadata or {}
    if metadata.get(_LOG_ID, b"").decode() != log_id:
        raise LogChanged(f"{files[-1]} was exported from another log: use another folder")
    return {int(partition): offset for partition, offset in json.loads(metadata[_OFFSETS]).items()}


def _number(files: list[Path]) -> int:
    return int(files[-1].stem.rsplit("-", 1)[1]) if files else 0


def _field(field: Mapping[str, Any]) -> pa.Field:
    kind = field["type"]
    if "microseconds since 1970" in field.get("doc", "") or field["name"] in (
        "window_start",
        "window_end",
        "clicked_at",
    ):
        return pa.field(field["name"], pa.timestamp("us", tz="UTC"))
    is_nullable = isinstance(kind, list) and "null" in kind
    return pa.field(field["name"], _arrow_type(kind), nullable=is_nullable)


def _arrow_type(kind: Any) -> pa.DataType:
    if isinstance(kind, str):
        return _PLAIN[kind]
    if isinstance(kind, list):
        (one,) = (branch for branch in kind if branch != "null")
        return _arrow_type(one)
    if kind["type"] == "record":
        return pa.struct([_field(field) for field in kind["fields"]])
    if kind["type"] == "array":
        return pa.list_(_arrow_type(kind["items"]))
    assert kind["type"] == "map", kind
    return pa.map_(pa.string(), _arrow_type(kind["values"]))
