"""An Avro schema compiled to Python: one function that writes its values, and one that reads them.

fastavro looks each value up in the schema, and in a union validates it against every branch. Functions made of the
schema once take a fraction of that (ADR 0018, ``benchmarks.framing``). They know what is usual. Whatever is not raises,
and is then for fastavro to judge: what is valid stays what fastavro says, and ``tests/property/test_framing.py`` holds
both to the same bytes.

Source: Avro 1.12 specification, "Binary Encoding".
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Schema = Any
"""As it is in JSON: a name, a list (union) or an object."""
Writer = Callable[[Any], bytes]
Reader = Callable[[bytes, int], Any]


class Unusual(Exception):
    """A value or bytes that the compiled functions leave to fastavro."""


def compile_writer(schema: Schema) -> Writer:
    """A function from a struct, whose attributes are the record's fields, to its datum.

    It raises whatever a value that does not fit leads to (AttributeError, TypeError, Unusual …).
    """
    source = _Source("def write(value):", "out = []", "add = out.append")
    _Writing(source, _named(schema)).add(schema, "value")
    source.line("return b''.join(out)")
    names = {"SMALL": _SMALL, "BOOLEANS": _BOOLEANS, "long": _long_bytes, "pack": struct.pack}
    return source.function("write", names)


def compile_reader(schema: Schema) -> Reader:
    """A function from bytes, and where in them the datum begins, to the record as a dict; all bytes must be used.

    It raises whatever bytes that are not as usual lead to (IndexError, UnicodeDecodeError, Unusual …).
    """
    source = _Source("def read(raw, at):")
    result = _Reading(source, _named(schema)).add(schema)
    source.line("if at != len(raw): raise Unusual")
    source.line(f"return {result}")
    names = {"SIGNED": _SIGNED, "long": _long_at, "length": _length_at, "unpack": struct.unpack_from}
    return source.function("read", names | {"Unusual": Unusual})


class _Source:
    """Lines of one function, indented."""

    def __init__(self, head: str, *body: str) -> None:
        self._lines, self._depth, self._names = [head], 1, 0
        for line in body:
            self.line(line)

    def line(self, text: str) -> None:
        self._lines.append("    " * self._depth + text)

    def name(self) -> str:
        """A variable that nothing else uses."""
        self._names += 1
        return f"v{self._names}"

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.line(head)
        self._depth += 1
        yield
        self._depth -= 1

    def function(self, name: str, names: Mapping[str, Any]) -> Callable[..., Any]:
        made: dict[str, Any] = dict(names)
        exec("\n".join(self._lines), made)  # nothing but names out of our own schemas is in it
        function: Callable[..., Any] = made[name]
        return function


class _Writing:
    """Adds the lines that write a value, given as an expression that may be evaluated more than once."""

    def __init__(self, source: _Source, named: Mapping[str, Schema]) -> None:
        self._source, self._named = source, named

    def add(self, schema: Schema, value: str) -> None:
        line, schema = self._source.line, _resolved(schema, self._named)
        if isinstance(schema, list):
            self._union(schema, value)
            return
        kind = schema["type"]
        if kind == "record":
            for field in schema["fields"]:
                name = self._source.name()
                line(f"{name} = {value}.{field['name']}")
                self.add(field["type"], name)
        elif kind in ("array", "map"):
            self._blocks(schema, value)
        elif kind == "string":
            name = self._source.name()
            line(f"{name} = {value}.encode()")
            self._length(name)
            line(f"add({name})")
        elif kind == "bytes":
            line(f"if type({value}) is not bytes: raise TypeError({value!r})")
            self._length(value)
            line(f"add({value})")
        elif kind in ("int", "long"):
            line(f"add(SMALL[{value}] if 0 <= {value} < {len(_SMALL)} else long({value}, {_BITS[kind]}))")
        elif kind in _FLOATS:
            line(f"add(pack('<{_FLOATS[kind]}', {value}))")
        else:
            assert kind == "boolean", kind
            line(f"add(BOOLEANS[{value}])")

    def _length(self, value: str) -> None:
        line, name = self._source.line, self._source.name()
        line(f"{name} = len({value})")
        line(f"add(SMALL[{name}] if {name} < {len(_SMALL)} else long({name}, 64))")

    def _blocks(self, schema: Mapping[str, Schema], value: str) -> None:
        source, entry, content = self._source, self._source.name(), self._source.name()
        with source.block(f"if {value}:"):
            self._length(value)
            if (packed := _floats_of(schema)) is not None:
                source.line(f"add(pack('<%d{packed}' % len({value}), *{value}))")
            elif schema["type"] == "array":
                with source.block(f"for {entry} in {value}:"):
                    self.add(schema["items"], entry)
            else:
                with source.block(f"for {entry}, {content} in {value}.items():"):
                    self.add({"type": "string"}, entry)
                    self.add(schema["values"], content)
        source.line(r"add(b'\0')")

    def _union(self, branches: list[Schema], value: str) -> None:
        source = self._source
        if len(branches) == 2 and branches[0] == "null":
            tests = [f"{value} is None", ""]
        else:
            tests = [f"type({value}) {_TYPES[_resolved(branch, self._named)['type']]}" for branch in branches]
        for index, (branch, test) in enumerate(zip(branches, tests, strict=True)):
            with source.block("else:" if not test else f"{'elif' if index else 'if'} {test}:"):
                source.line(f"add({_SMALL[index]!r})")
                if branch != "null":
                    self.add(branch, value)
        if tests[-1]:
            with source.block("else:"):
                source.line(f"raise TypeError({value!r})")


class _Reading:
    """Adds the lines that read a value, and says by which expression it is known then."""

    def __init__(self, source: _Source, named: Mapping[str, Schema]) -> None:
        self._source, self._named = source, named

    def add(self, schema: Schema) -> str:
        source, schema = self._source, _resolved(schema, self._named)
        if isinstance(schema, list):
            return self._union(schema)
        kind = schema["type"]
        if kind == "null":
            return "None"
        if kind == "record":
            values = [(field["name"], self.add(field["type"])) for field in schema["fields"]]
            return "{" + ", ".join(f"{name!r}: {value}" for name, value in values) + "}"
        name = source.name()
        if kind in ("int", "long"):
            self._long(name, _BITS[kind])
        elif kind in ("string", "bytes"):
            end = source.name()
            self._length(end)
            source.line(f"{end} += at")
            source.line(f"{name} = raw[at:{end}]{'.decode()' if kind == 'string' else ''}")
            source.line(f"at = {end}")
        elif kind in _FLOATS:
            source.line(f"({name},) = unpack('<{_FLOATS[kind]}', raw, at)")
            source.line(f"at += {struct.calcsize(_FLOATS[kind])}")
        elif kind == "boolean":
            source.line(f"{name} = (False, True)[raw[at]]")
            source.line("at += 1")
        else:
            self._blocks(schema, name)
        return name

    def _long(self, name: str, bits: int) -> None:
        self._source.line(f"{name} = raw[at]")
        with self._source.block(f"if {name} > 127:"):
            self._source.line(f"{name}, at = long(raw, at, {bits})")
        with self._source.block("else:"):
            self._source.line(f"{name} = SIGNED[{name}]")
            self._source.line("at += 1")

    def _length(self, name: str) -> None:
        """A number of bytes or entries; 129 are the bits that a short one above zero does not have."""
        self._source.line(f"{name} = raw[at]")
        with self._source.block(f"if {name} & 129:"):
            self._source.line(f"{name}, at = length(raw, at)")
        with self._source.block("else:"):
            self._source.line(f"{name} >>= 1")
            self._source.line("at += 1")

    def _blocks(self, schema: Mapping[str, Schema], name: str) -> None:
        source, count = self._source, self._source.name()
        source.line(f"{name} = {'[]' if schema['type'] == 'array' else '{}'}")
        self._length(count)
        with source.block(f"while {count}:"):
            if (packed := _floats_of(schema)) is not None:
                source.line(f"{name} += unpack('<%d{packed}' % {count}, raw, at)")
                source.line(f"at += {struct.calcsize(packed)} * {count}")
            else:
                self._entries(schema, name, count)
            self._length(count)

    def _entries(self, schema: Mapping[str, Schema], name: str, count: str) -> None:
        with self._source.block(f"for _ in range({count}):"):
            if schema["type"] == "array":
                self._source.line(f"{name}.append({self.add(schema['items'])})")
            else:
                key = self.add({"type": "string"})
                self._source.line(f"{name}[{key}] = {self.add(schema['values'])}")

    def _union(self, branches: list[Schema]) -> str:
        source, index, name = self._source, self._source.name(), self._source.name()
        source.line(f"{index} = raw[at]")
        source.line("at += 1")
        for number, branch in enumerate(branches):
            with source.block(f"{'elif' if number else 'if'} {index} == {2 * number}:"):
                source.line(f"{name} = {self.add(branch)}")
        with source.block("else:"):
            source.line("raise Unusual")
        return name


_BITS = {"int": 32, "long": 64}
_FLOATS = {"float": "f", "double": "d"}
_BOOLEANS = {False: b"\0", True: b"\1"}
_TYPES = {
    "null": "is type(None)", "boolean": "is bool", "long": "is int", "double": "is float", "string": "is str",
    "bytes": "is bytes", "array": "in (tuple, list)", "map": "is dict",
}  # fmt: skip
"""What values of a branch are; of a branch that is not here, only ``["null", …]`` can be."""


def _named(schema: Schema) -> dict[str, Schema]:
    """Every record within a schema by its name."""
    found: dict[str, Schema] = {}
    inner = schema if isinstance(schema, list) else []
    if isinstance(schema, dict):
        if schema["type"] == "record":
            assert "." not in schema["name"], schema["name"]
            found[schema["name"]] = schema
            inner = [field["type"] for field in schema["fields"]]
        else:
            inner = [each for each in (schema["type"], schema.get("items"), schema.get("values")) if each]
    for each in inner:
        found |= _named(each)
    return found


def _floats_of(schema: Mapping[str, Schema]) -> str | None:
    """How ``struct`` names the entries of an array of numbers with a point; None: it is no such array."""
    return _FLOATS.get(schema["items"]) if schema["type"] == "array" and isinstance(schema["items"], str) else None


def _resolved(schema: Schema, named: Mapping[str, Schema]) -> Schema:
    """The schema as an object, or as a list where it is a union."""
    if isinstance(schema, str):
        return named.get(schema, {"type": schema})
    if isinstance(schema, dict) and isinstance(schema["type"], dict | list):
        return _resolved(schema["type"], named)
    return schema


def _zigzag_bytes(value: int) -> bytes:
    rest = (value << 1) ^ (value >> 63)
    raw = bytearray()
    while rest > 127:
        raw.append(rest & 127 | 128)
        rest >>= 7
    raw.append(rest)
    return bytes(raw)


_SMALL = [_zigzag_bytes(value) for value in range(4096)]
_SIGNED = [(value >> 1) ^ -(value & 1) for value in range(128)]


def _long_bytes(value: int, bits: int) -> bytes:
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise Unusual(f"{value} has more than {bits} bits")
    return _zigzag_bytes(value)


def _long_at(raw: bytes, at: int, bits: int) -> tuple[int, int]:
    """An integer of more than one byte, and where the next value begins."""
    found = shift = 0
    while (byte := raw[at]) > 127:
        if shift > 63:  # or a long run of such bytes would be summed up to a number of megabytes
            raise Unusual("a number without end")
        found |= (byte & 127) << shift
        shift += 7
        at += 1
    found |= byte << shift
    if found >> bits:
        raise Unusual(f"more than {bits} bits")
    return (found >> 1) ^ -(found & 1), at + 1


def _length_at(raw: bytes, at: int) -> tuple[int, int]:
    found, at = _long_at(raw, at, 64)
    if found < 0:
        raise Unusual("a block that says its size as well")
    return found, at
