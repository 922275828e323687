"""Both framings, every topic, any value; checked by the reference implementation of Avro as well."""

import io
import json
from typing import NoReturn

import avro.io
import avro.schema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.compiled import Unusual
from schemas.errors import InvalidRecord, UndecodableRecord, UnsupportedSchema
from schemas.framing import CODECS, Codec
from tests.values import TOPIC_TYPES, topic_values

every_topic = pytest.mark.parametrize("name", sorted(CODECS))


class OneSchema:
    """A registry that knows one schema."""

    def __init__(self, codec: Codec) -> None:
        self.schema = codec.schema

    def schema_of(self, schema_id: int) -> dict[str, object]:
        if schema_id != 7:
            raise UnsupportedSchema(f"no schema {schema_id}")
        return self.schema

    def id_of(self, subject: str, schema: dict[str, object]) -> int:
        return 7


@every_topic
@given(data=st.data())
@settings(max_examples=40)
def test_single_object_encoding_returns_the_same_value(name: str, data: st.DataObject) -> None:
    value = data.draw(topic_values(name))
    assert CODECS[name].decode(CODECS[name].encode(value), TOPIC_TYPES[name]) == value


@every_topic
@given(data=st.data())
@settings(max_examples=15)
def test_confluent_framing_returns_the_same_value(name: str, data: st.DataObject) -> None:
    codec, value = CODECS[name], data.draw(topic_values(name))
    raw = codec.encode_confluent(value, 7)
    assert raw[:5] == b"\x00\x00\x00\x00\x07"
    assert codec.decode(raw, TOPIC_TYPES[name], OneSchema(codec)) == value


class ByFastavro(Codec):
    """What fastavro alone makes of values and bytes."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._read = self._write = self._neither

    def _neither(self, *_: object) -> NoReturn:
        raise NotImplementedError


BY_FASTAVRO = {name: ByFastavro(name) for name in CODECS}


def outcome(codec: Codec, raw: bytes) -> bytes | type[Exception]:
    """The value in bytes, so that not-a-number equals itself; or how it was refused."""
    try:
        return msgspec.msgpack.encode(codec.decode(raw, TOPIC_TYPES[codec.name]))
    except InvalidRecord as error:
        return type(error)


@every_topic
@given(data=st.data())
@settings(max_examples=40)
def test_what_is_usual_is_compiled_and_its_bytes_are_those_of_fastavro(name: str, data: st.DataObject) -> None:
    codec, value = CODECS[name], data.draw(topic_values(name))
    raw = BY_FASTAVRO[name].encode(value)
    assert codec._header + codec._write(value) == raw
    assert msgspec.convert(codec._read(raw, 10), TOPIC_TYPES[name], builtin_types=(bytes,)) == value


@every_topic
@given(data=st.data())
@settings(max_examples=100)
def test_damaged_bytes_are_what_fastavro_says_they_are(name: str, data: st.DataObject) -> None:
    raw = bytearray(CODECS[name].encode(data.draw(topic_values(name))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(10, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        raw += bytes(11 - len(raw)) if len(raw) < 11 else b""
    assert outcome(CODECS[name], bytes(raw)) == outcome(BY_FASTAVRO[name], bytes(raw))


def test_a_number_without_end_is_refused_at_once() -> None:
    codec = CODECS["product-added"]
    with pytest.raises(Unusual):
        codec._read(codec._header + b"\x80" * 20_000_000, 10)


def with_floats(value: object) -> object:
    """The value's builtins with whole numbers as floats: the reference writes an attribute's as it likes."""
    builtins = msgspec.to_builtins(value, builtin_types=(bytes,))
    if isinstance(builtins, dict):
        return {name: with_floats(entry) for name, entry in builtins.items()}
    if isinstance(builtins, list | tuple):
        return [with_floats(entry) for entry in builtins]
    return float(builtins) if type(builtins) is int else builtins


@every_topic
@given(data=st.data())
@settings(max_examples=15)
def test_the_reference_implementation_reads_what_we_write_and_the_reverse(name: str, data: st.DataObject) -> None:
    codec, value = CODECS[name], data.draw(topic_values(name))
    schema = avro.schema.parse(json.dumps(codec.schema))
    ours = codec.encode(value)
    datum = avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(io.BytesIO(ours[10:])))
    assert msgspec.convert(datum, TOPIC_TYPES[name], builtin_types=(bytes,)) == value

    theirs = io.BytesIO()
    avro.io.DatumWriter(schema).write(datum, avro.io.BinaryEncoder(theirs))
    read = codec.decode(ours[:10] + theirs.getvalue(), TOPIC_TYPES[name])
    assert with_floats(read) == with_floats(value)


@every_topic
@given(raw=st.binary(max_size=60), framing=st.sampled_from(["none", "single-object", "confluent"]))
@settings(max_examples=40)
def test_garbage_is_an_invalid_record_or_a_value_and_never_anything_else(name: str, raw: bytes, framing: str) -> None:
    codec = CODECS[name]
    prefix = {"none": b"", "single-object": codec._header, "confluent": b"\x00\x00\x00\x00\x07"}[framing]
    try:
        value = codec.decode(prefix + raw, TOPIC_TYPES[name], OneSchema(codec))
    except InvalidRecord:
        return
    assert isinstance(value, TOPIC_TYPES[name])


@given(data=st.data())
def test_a_truncated_record_never_decodes(data: st.DataObject) -> None:
    codec, value = CODECS["product-added"], data.draw(topic_values("product-added"))
    raw = codec.encode(value)
    cut = data.draw(st.integers(10, len(raw) - 1))
    with pytest.raises(UndecodableRecord):
        codec.decode(raw[:cut], TOPIC_TYPES["product-added"])


@every_topic
@given(data=st.data(), tail=st.binary(min_size=1, max_size=8))
@settings(max_examples=15)
def test_bytes_after_the_value_are_refused(name: str, data: st.DataObject, tail: bytes) -> None:
    codec, value = CODECS[name], data.draw(topic_values(name))
    with pytest.raises(UndecodableRecord):
        codec.decode(codec.encode(value) + tail, TOPIC_TYPES[name])
