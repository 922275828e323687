"""Old bytes stay readable, and a schema is changed in one place only (HOLES 18)."""

import io
import json
import re
from importlib import resources

import avro.compatibility
import avro.schema
import fastavro
import msgspec
import pytest

from schemas.errors import UnsupportedSchema
from schemas.framing import CODECS, Codec, _fingerprint, history
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
