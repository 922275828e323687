"""Avro on the wire: one codec per topic value, single-object and Confluent framing, both always read (DESIGN 4).

Single-object encoding: 0xC3 0x01, the 8-byte little-endian CRC-64-AVRO fingerprint, the datum.
Confluent framing: 0x00, the 4-byte big-endian schema id, the datum.
Source: Avro 1.12 specification, "Single object encoding" and "Schema fingerprints"; Confluent wire format.
"""

import io
import json
from contextlib import suppress
from functools import cache
from importlib import resources
from typing import Any, Protocol, TypeVar

import fastavro
import msgspec
from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas.compiled import compile_reader, compile_writer
from schemas.errors import UndecodableRecord, UnsupportedSchema

_SINGLE_OBJECT = b"\xc3\x01"
_CONFLUENT = b"\x00"

T = TypeVar("T", bound=msgspec.Struct)


class SchemaRegistry(Protocol):
    """What Confluent framing needs of a registry; implemented in ``topics``."""

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        """The Avro schema with this id; raises UnsupportedSchema if there is none."""
        ...

    def id_of(self, subject: str, schema: dict[str, Any]) -> int:
        """Register the schema under the subject if need be, and return its id."""
        ...


class Codec:
    """Encodes and decodes the values of one topic.

    Every schema the topic ever had is known (``schemas/history/<name>.v<n>.avsc``), so that no reader ever needs a
    registry for what we wrote ourselves.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.schema: dict[str, Any] = json.loads((resources.files("schemas") / f"{name}.avsc").read_text())
        self._parsed = fastavro.parse_schema(self.schema)
        self._write, self._read = compile_writer(self.schema), compile_reader(self.schema)
        self._header = _SINGLE_OBJECT + _fingerprint(self.schema)
        self._writers = {_fingerprint(old): fastavro.parse_schema(old) for old in history(name)}
        self._writers[self._header[2:]] = self._parsed

    @staticmethod
    def is_framed(raw: bytes) -> bool:
        """Whether the bytes begin with a single-object header."""
        return len(raw) >= 10 and raw[:2] == _SINGLE_OBJECT

    def encode(self, value: msgspec.Struct) -> bytes:
        """The value in single-object encoding.

        Raises:
            UndecodableRecord: a field does not fit the schema (a number beyond 64 bits, say).
        """
        return self._header + self._datum(value)

    def encode_confluent(self, value: msgspec.Struct, schema_id: int) -> bytes:
        """The value in Confluent framing."""
        return _CONFLUENT + schema_id.to_bytes(4, "big") + self._datum(value)

    def decode(self, raw: bytes, into: type[T], registry: SchemaRegistry | None = None) -> T:
        """Read either framing into the given type.

        Raises:
            UnsupportedSchema: an unknown fingerprint or id, or (``schema-registry-not-configured``) Confluent framing
                without a registry.
            UndecodableRecord: no framing of ours, or bytes that are not what the schema says.
        """
        writer, start = self._writer_of(raw, registry)
        try:
            return msgspec.convert(self._datum_in(raw, start, writer), into, builtin_types=(bytes,))
        except Exception as error:  # fastavro raises whatever the broken bytes lead to
            raise UndecodableRecord(f"not a value of {self.name}: {type(error).__name__}: {error}") from error

    def _datum_in(self, raw: bytes, start: int, writer: Any) -> Any:
        if writer is self._parsed:
            with suppress(Exception):  # not as usual: fastavro decides
                return self._read(raw, start)
        stream = io.BytesIO(raw)
        stream.seek(start)
        datum = fastavro.schemaless_reader(stream, writer, None if writer is self._parsed else self._parsed)
        if stream.tell() != len(raw):
            raise ValueError(f"{len(raw) - stream.tell()} bytes too many")
        return datum

    def _datum(self, value: msgspec.Struct) -> bytes:
        with suppress(Exception):  # as above
            return self._write(value)
        stream = io.BytesIO()
        try:
            datum = msgspec.to_builtins(value, builtin_types=(bytes,))
            fastavro.schemaless_writer(stream, self._parsed, datum, disable_tuple_notation=True)
        except Exception as error:  # fastavro raises ValueError, TypeError, OverflowError or its own
            raise UndecodableRecord(f"does not fit the schema of {self.name}: {error}") from error
        return stream.getvalue()

    def _writer_of(self, raw: bytes, registry: SchemaRegistry | None) -> tuple[Any, int]:
        if self.is_framed(raw):
            writer = self._writers.get(raw[2:10])
            if writer is None:
                raise UnsupportedSchema(f"{self.name}: unknown schema fingerprint {raw[2:10].hex()}")
            return writer, 10
        if len(raw) >= 5 and raw[:1] == _CONFLUENT:
            if registry is None:
                raise UnsupportedSchema(
                    f"{self.name}: Confluent framing, and no SCHEMA_REGISTRY_URL is set",
                    code="schema-registry-not-configured",
                )
            schema = registry.schema_of(int.from_bytes(raw[1:5], "big"))
            return (self._parsed if schema == self.schema else _parse(json.dumps(schema))), 5
        raise UndecodableRecord(f"{self.name}: neither single-object nor Confluent framing")


def history(name: str) -> list[dict[str, Any]]:
    """Every earlier schema of a topic, oldest first."""
    folder = resources.files("schemas") / "history"
    if not folder.is_dir():
        return []
    files = [file for file in folder.iterdir() if file.name.startswith(f"{name}.v")]
    return [json.loads(file.read_text()) for file in sorted(files, key=lambda file: _number(file.name))]


def _number(file_name: str) -> int:
    """9 of ``clicks.v9.avsc``: as a number, or v10 would come before v9."""
    return int(file_name.rsplit(".v", 1)[1].removesuffix(".avsc"))


def _fingerprint(schema: dict[str, Any]) -> bytes:
    # fastavro prints the bytes in the order in which they go on the wire: little-endian.
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


@cache
def _parse(schema: str) -> Any:
    return fastavro.parse_schema(json.loads(schema))


PRODUCT_ADDED = Codec("product-added")
PRODUCT_DELETED = Codec("product-deleted")
INDEX_LOG = Codec("index-log")
INDEX_PROGRESS = Codec("index-progress")
NODE_STATUS = Codec("node-status")
PRODUCT_RETRY = Codec("product-retry")
SEARCHES = Codec("searches")
CLICKS = Codec("clicks")
SEARCH_QUALITY = Codec("search-quality")
TRAINING_PAIRS = Codec("training-pairs")
DEAD_LETTERS = Codec("dead-letters")

CODECS = {
    codec.name: codec
    for codec in (
        PRODUCT_ADDED, PRODUCT_DELETED, INDEX_LOG, INDEX_PROGRESS, NODE_STATUS, PRODUCT_RETRY, SEARCHES, CLICKS,
        SEARCH_QUALITY, TRAINING_PAIRS, DEAD_LETTERS,
    )
}  # fmt: skip
