"""Old bytes stay readable, and a schema is changed in one place only (HOLES 18)."""

import copy
import io
import json
import re
from importlib import resources
from typing import Any

import avro.compatibility
import avro.schema
import fastavro
import msgspec
import pytest

from index_nodes.products.product import UNKNOWN, decode_state, fold
from schemas.errors import UnsupportedSchema
from schemas.framing import CODECS, Codec, _fingerprint, history
from schemas.index_log import IndexLogRecord
from tests.values import TOPIC_TYPES
from topics.declarations import TOPICS

every_topic = pytest.mark.parametrize("name", sorted(CODECS))
BOTH = avro.compatibility.SchemaCompatibilityType.compatible


def compatibility(reader: dict[str, object], writer: dict[str, object]) -> avro.compatibility.SchemaCompatibilityResult:
    checker = avro.compatibility.ReaderWriterCompatibilityChecker()
    return checker.get_compatibility(avro.schema.parse(json.dumps(reader)), avro.schema.parse(json.dumps(writer)))


def test_every_topic_has_a_codec_and_a_type() -> None:
    assert {topic.schema for topic in TOPICS.values()} == set(CODECS) == set(TOPIC_TYPES)


def test_no_schema_file_is_forgotten() -> None:
    files = {file.name.removesuffix(".avsc") for file in resources.files("schemas").iterdir() if ".avsc" in file.name}
    assert files == set(CODECS)
    kept = {file.name for file in (resources.files("schemas") / "history").iterdir()}
    assert all(re.fullmatch(rf"({'|'.join(CODECS)})\.v[1-9]\d*\.avsc", name) for name in kept)


@every_topic
def test_the_current_schema_is_the_newest_in_history(name: str) -> None:
    """After a change: copy the file to schemas/history/NAME.v(n+1).avsc."""
    assert CODECS[name].schema == history(name)[-1]


@every_topic
def test_the_current_schema_reads_everything_ever_written(name: str) -> None:
    for number, old in enumerate(history(name), start=1):
        result = compatibility(reader=CODECS[name].schema, writer=old)
        assert result.compatibility is BOTH, f"v{number}: {result.messages}"


def test_the_checker_would_notice() -> None:
    changed = json.loads(json.dumps(CODECS["clicks"].schema))
    changed["fields"].append({"name": "added", "type": "long"})
    assert compatibility(reader=changed, writer=CODECS["clicks"].schema).compatibility is not BOTH


def test_history_is_ordered_by_number() -> None:
    codec = Codec("clicks")
    assert history("clicks")[0] == json.loads((resources.files("schemas") / "history/clicks.v1.avsc").read_text())
    assert codec.schema["name"] == "Click"


@every_topic
def test_fingerprints_are_those_of_the_reference_implementation(name: str) -> None:
    schema = avro.schema.parse(json.dumps(CODECS[name].schema))
    assert _fingerprint(CODECS[name].schema) == schema.fingerprint("CRC-64-AVRO")


def test_a_fingerprint_goes_on_the_wire_little_endian() -> None:
    """The specification's own example: the schema "int" has 0x7275d51a3f395c8f."""
    assert _fingerprint("int") == (0x7275D51A3F395C8F).to_bytes(8, "little")  # type: ignore[arg-type]


def test_records_of_an_earlier_schema_are_read_with_its_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older writer had no dwell_ms: what it wrote is read, and the field has its default."""
    older = json.loads(json.dumps(CODECS["clicks"].schema))
    older["fields"] = [field for field in older["fields"] if field["name"] != "dwell_ms"]
    monkeypatch.setattr("schemas.framing.history", lambda name: [older])
    codec = Codec("clicks")
    value = {"query_id": "q", "tenant": "t", "product_id": "p", "position": 1, "kind": "click", "clicked_at": 5}
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(older), {**value, "session": "s"})
    click = codec.decode(b"\xc3\x01" + _fingerprint(older) + stream.getvalue(), TOPIC_TYPES["clicks"])
    assert msgspec.to_builtins(click) == {**value, "session": "s", "dwell_ms": None}
    with pytest.raises(UnsupportedSchema, match="unknown schema fingerprint"):
        CODECS["clicks"].decode(b"\xc3\x01" + _fingerprint(older) + stream.getvalue(), TOPIC_TYPES["clicks"])


# --- the frozen types and the schemas say the same ---------------------------------------------------------------


def either(branches: list[object]) -> object:
    """A union, whatever the order of its branches."""
    return ["union", sorted(branches, key=json.dumps)]


def described(kind: object, named: dict[str, object]) -> object:
    """An Avro type as nested lists of plain names; Python knows one width of each number."""
    if isinstance(kind, list):
        return either([described(branch, named) for branch in kind])
    if isinstance(kind, str):
        return described(named[kind], named) if kind in named else {"int": "long", "float": "double"}.get(kind, kind)
    assert isinstance(kind, dict)
    if kind["type"] == "record":
        named[kind["name"]] = kind
        return ["record", {field["name"]: described(field["type"], named) for field in kind["fields"]}]
    return [kind["type"], described(kind.get("items", kind.get("values")), named)]


AVRO_NAMES = {
    msgspec.inspect.NoneType: "null",
    msgspec.inspect.BoolType: "boolean",
    msgspec.inspect.IntType: "long",
    msgspec.inspect.FloatType: "double",
    msgspec.inspect.StrType: "string",
    msgspec.inspect.BytesType: "bytes",
    msgspec.inspect.LiteralType: "string",
}


def inspected(kind: msgspec.inspect.Type) -> object:
    """A type of ours in the same form."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return inspected(kind.type)
    if isinstance(kind, msgspec.inspect.StructType):
        return ["record", {field.name: inspected(field.type) for field in kind.fields}]
    if isinstance(kind, msgspec.inspect.UnionType):
        return either([inspected(branch) for branch in kind.types])
    if isinstance(kind, msgspec.inspect.VarTupleType):
        return ["array", inspected(kind.item_type)]
    if isinstance(kind, msgspec.inspect.DictType):
        assert isinstance(kind.key_type, msgspec.inspect.StrType)
        return ["map", inspected(kind.value_type)]
    return AVRO_NAMES[type(kind)]


@every_topic
def test_type_and_schema_agree_field_by_field(name: str) -> None:
    assert inspected(msgspec.inspect.type_info(TOPIC_TYPES[name])) == described(CODECS[name].schema, {})


@every_topic
def test_type_and_schema_agree_on_defaults(name: str) -> None:
    """A field that Python may leave out has the same default in Avro, so that the two mean the same record."""
    info = msgspec.inspect.type_info(TOPIC_TYPES[name])
    assert isinstance(info, msgspec.inspect.StructType)
    avro_defaults = {field["name"]: field["default"] for field in CODECS[name].schema["fields"] if "default" in field}
    for field in info.fields:
        if not field.required:
            default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            assert default in (None, {})
            assert avro_defaults.get(field.name, "absent") == default, field.name


# --- index-log: what version 1 wrote is read, and leaves the same state ------------------------------------------

WRITTEN_BY_VERSION_1: dict[str, Any] = {
    "tenant": "shop",
    "product_id": "p1",
    "source": {"topic": "product-added", "partition": 0, "offset": 3, "appended_at": 1000},
    "content": {
        "rank": {"version": 5, "sequence": 0, "revision": 1, "digest": b"d"},
        "space": "test",
        "title": "a title",
        "description": None,
        "attributes": {},
        "views": [
            {
                "view_hash": b"h" * 16,
                "kind": "image",
                "vector": b"\0<\0\0",
                "content_hash": None,
                "phash": b"p" * 8,
                "uri": None,
            }
        ],
        "dup_group": b"g",
    },
    "offer": None,
    "deleted": None,
}


def _written_by_version_1() -> IndexLogRecord:
    older = history("index-log")[0]
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(older), WRITTEN_BY_VERSION_1)
    return CODECS["index-log"].decode(b"\xc3\x01" + _fingerprint(older) + stream.getvalue(), IndexLogRecord)


def test_a_record_of_index_log_version_1_says_nothing_of_flags_frames_and_agreement() -> None:
    content = _written_by_version_1().content
    assert content is not None
    assert (content.agreement, content.views[0].timestamp_ms, content.views[0].flags) == (None, None, ())
    assert (content.title, content.views[0].phash) == ("a title", b"p" * 8)


def test_the_state_of_an_old_record_has_its_old_bytes() -> None:
    """Digests cover these bytes: a node and a generation from before must agree with one from after."""
    content = copy.deepcopy(WRITTEN_BY_VERSION_1["content"])
    content["views"][0]["vector"] = b""
    before = msgspec.msgpack.encode((content, None))  # as version 1 wrote every field, in this order
    state, _ = fold(UNKNOWN, _written_by_version_1())
    assert state.live_bytes() == before
    assert decode_state(state.to_bytes()) == state


def test_what_version_2_added_is_kept_in_the_state() -> None:
    content = _written_by_version_1().content
    assert content is not None
    view = msgspec.structs.replace(content.views[0], kind="frame", timestamp_ms=1500, flags=("dark",))
    record = msgspec.structs.replace(
        _written_by_version_1(), content=msgspec.structs.replace(content, views=(view,), agreement=0.5)
    )
    raw = CODECS["index-log"].encode(record)
    assert CODECS["index-log"].decode(raw, IndexLogRecord) == record
    state, _ = fold(UNKNOWN, record)
    kept = decode_state(state.to_bytes())
    assert kept.content is not None
    assert (kept.content.agreement, kept.views[0].timestamp_ms, kept.views[0].flags) == (0.5, 1500, ("dark",))
