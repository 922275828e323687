"""A generation: the folded log up to some offsets, immutable and memory-mapped.

Slots 0 to s - 1 are products with rows, in key order, and row i < s is the first view of slot i; further views lie
behind, by slot. Slots from s on are products without a row, in key order too: tombstones, offers without content,
content without a picture.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from index_nodes.generations import ivf
from index_nodes.generations.manifest import Manifest
from index_nodes.products.bitmaps import evaluate
from index_nodes.products.columns import Column, KindsOfTenants, SortedDictionary, mask
from index_nodes.products.digest import Digest
from index_nodes.products.hits import hit_of
from index_nodes.products.keys import HashOf, MainKeys
from index_nodes.products.overlay import RowIds
from index_nodes.products.product import GROUP_BYTES, ProductState, decode_state
from index_nodes.products.remembering import remembering
from index_nodes.rows.arrays import Mask, Rows
from index_nodes.rows.exact import ExactRows
from index_nodes.rows.passing import LocalRows, Nearest, Passing
from schemas.embeddings import Vector
from schemas.fields import PRODUCT_ID, Kind
from schemas.filters import AnyOf, Filter, Leaf
from schemas.hashing import key_hash
from schemas.identity import ProductKey
from schemas.layout import NextOffset
from schemas.shard import ShardHit

PRODUCTS, KEYS, TENANTS, EXTRA_ROWS, FIELDS, VECTORS, INDEX = (
    "products.arrow", "keys.arrow", "tenants.arrow", "extra-rows.arrow", "fields.arrow", "vectors.f16", "index.faiss"
)  # fmt: skip
_HITS_MAX = 4_096
"""Under a kilobyte each."""


class Base(NamedTuple):
    """What passes a filter below the overlay: ``slots`` (p,) bool, the number set, and the number of their rows."""

    slots: Mask
    products: int
    rows: int


class Generation:
    """Opened by :func:`load` or :func:`empty`; one writer never exists."""

    source = "main"

    def __init__(
        self,
        *,
        manifest: Manifest | None,
        positions: dict[int, NextOffset],
        tables: dict[str, pa.Table],
        exact: ExactRows,
        index: ivf.IvfIndex | None,
        hash_of: HashOf,
    ) -> None:
        self.manifest, self.positions, self.exact, self.index = manifest, positions, exact, index
        products = tables[PRODUCTS]
        self._states = Blobs(_one_chunk(products["state"]))
        self.visible: Mask = _numpy(products["visible"]).astype(np.bool_)
        self.content_versions: npt.NDArray[np.int64] = _numpy(products["content_version"])
        self._extra_slots: Rows = _numpy(tables[EXTRA_ROWS]["slot"])
        self._groups = _fixed_bytes(_one_chunk(products["group"]))
        self._first_rows = len(exact) - len(self._extra_slots)
        hashes = tables[KEYS]
        self._raw_keys = Blobs(_one_chunk(products["key"]))
        self.keys = MainKeys(_numpy(hashes["hash"]), _numpy(hashes["slot"]), self._raw_keys, hash_of)
        self._tenant_slots = _tenant_slots(tables[TENANTS])
        self._columns = {column: number for number, column in enumerate(_columns(tables[FIELDS]))}
        self._field_table = tables[FIELDS].combine_chunks()
        self.kinds = _kinds(tables[FIELDS])
        # Of bitmaps of p bytes each: filters repeat, and below the overlay they never change.
        self.passing = remembering(self._passing, 64)
        # Products that are found are found again, and what was folded here never changes.
        self.hit = remembering(self._hit, _HITS_MAX)

    def __len__(self) -> int:
        return len(self.exact)

    @property
    def vectors(self) -> npt.NDArray[np.float16]:
        """(n, dim) float16, mapped."""
        return self.exact.vectors

    @property
    def slots(self) -> int:
        return len(self._states)

    @property
    def codebook(self) -> Any:
        """By which new rows are coded, see :attr:`ivf.IvfIndex.codebook`; None where there are too few rows for one."""
        return self.index.codebook if self.index else None

    @property
    def products(self) -> int:
        """Visible ones."""
        return int(np.count_nonzero(self.visible))

    @property
    def build(self) -> str:
        """The identity of the build, empty for the empty generation."""
        return self.manifest.build if self.manifest else ""

    @property
    def digests(self) -> dict[int, Digest]:
        """The logical content by index-log partition."""
        if self.manifest is None:
            return dict.fromkeys(self.positions, Digest())
        return {int(partition): Digest.parse(text) for partition, text in self.manifest.digests.items()}

    @property
    def newest_append_ms(self) -> int:
        """The greatest append time in the prefix that was folded, 0 before the first record."""
        return self.manifest.newest_append_ms if self.manifest else 0

    def state(self, slot: int) -> ProductState:
        """What was folded into the slot."""
        return decode_state(self.raw_state(slot))

    def _hit(self, slot: int) -> ShardHit:
        """The visible product at a slot, see :func:`hits.hit_of`."""
        return hit_of(self._raw_keys[slot], decode_state(self._states.view(slot)))

    def raw_state(self, slot: int) -> memoryview:
        """The state as MessagePack."""
        return self._states.view(slot)

    def rows_of(self, slot: int) -> RowIds:
        """The rows of the slot's views, in the order of its views."""
        if slot >= self._first_rows:
            return ()
        begin, end = np.searchsorted(self._extra_slots, (slot, slot + 1)).tolist()
        return (slot, *range(self._first_rows + begin, self._first_rows + end))

    def in_key_order(self, slots: LocalRows) -> list[LocalRows]:
        """A tenant's ascending slots in three parts: two whose keys ascend, and those beyond the generation."""
        return np.split(slots, np.searchsorted(slots, (self._first_rows, self.slots)))

    def rows_of_all(self, slots: LocalRows) -> LocalRows:
        """The rows of all views of these slots, in no order; slots beyond the generation have none."""
        slots = slots[slots < self._first_rows]
        begins, ends = (np.searchsorted(self._extra_slots, slots, side) for side in ("left", "right"))
        further = [np.arange(begin, end) for begin, end in zip(begins, ends, strict=True) if begin < end]
        return np.concatenate([slots, *(self._first_rows + each for each in further)])

    def groups_of(self, slots: LocalRows) -> npt.NDArray[np.void]:
        """(m,) the duplicate group of each slot, see :func:`product.group_id`."""
        groups: npt.NDArray[np.void] = self._groups[slots]
        return groups

    def slots_of(self, rows: LocalRows) -> npt.NDArray[np.int64]:
        """The slot of each row."""
        if not len(self._extra_slots):
            return rows
        extra = rows >= self._first_rows
        if not extra.any():
            return rows
        slots = rows.copy()
        slots[extra] = self._extra_slots[rows[extra] - self._first_rows]
        return slots

    def row_mask(self, slots: Mask) -> Mask:
        """(n,) bool: the rows whose slot is set; a new array."""
        return np.concatenate([slots[: self._first_rows], slots[self._extra_slots]])

    def search(self, query: Vector, wanted: int, passing: Passing, effort: float = 1.0) -> Nearest:
        """At least the ``wanted`` nearest passing rows, or all that pass; see :class:`tail.Block`.

        ``effort``: the share of the usual work that may be done, above 0.
        """
        if self.index is None:
            return self.exact.search(query, wanted, passing)
        return self.index.search(query, wanted, passing, effort)

    def search_all(self, queries: Vector, wanted: int, passing: Passing, effort: float = 1.0) -> list[Nearest]:
        """As :meth:`search`, for each of the queries (n, dim), together."""
        if self.index is None:
            return [self.exact.search(query, wanted, passing) for query in queries]
        return self.index.search_all(queries, wanted, passing, effort)

    def has_tenant(self, tenant: str) -> bool:
        return tenant in self._tenant_slots

    def _passing(self, tenant: str, clause: Filter | None) -> Base:
        """Visible, of the tenant, and passing the (checked) filter. Not to be changed."""
        passing = np.zeros(self.slots, np.bool_)
        for begin, end in self._tenant_slots.get(tenant, ()):
            passing[begin:end] = self.visible[begin:end]
        if clause is not None and passing.any():
            passing &= evaluate(clause, functools.partial(self._mask, tenant))
        counts = (int(np.count_nonzero(mask)) for mask in (passing, self.row_mask(passing)))
        return Base(passing, *counts)

    def _mask(self, tenant: str, leaf: Leaf) -> Mask:
        if leaf.field == PRODUCT_ID:
            return self._mask_of_ids(tenant, leaf)
        return mask(leaf, functools.partial(self.column, tenant, leaf.field), self.slots)

    def _mask_of_ids(self, tenant: str, leaf: Leaf) -> Mask:
        assert isinstance(leaf, AnyOf), "a range of ids is refused before a node is asked"
        passing = np.zeros(self.slots, np.bool_)
        found = [self.keys.find(ProductKey(tenant, str(value)).to_bytes()) for value in leaf.values]
        passing[[slot for slot in found if slot is not None]] = True
        return passing

    def column(self, tenant: str, name: str, kind: Kind) -> Column | None:
        """The field's values of one kind by slot, even of slots that changed since; None where it has none."""
        number = self._columns.get((tenant, name, kind))
        return None if number is None else self._column(number, kind)

    def _column(self, number: int, kind: Kind) -> Column:
        row = {name: self._field_table[name][number] for name in ("ids", "numbers", "codes", "strings")}
        ids = _values(row["ids"])
        if kind is not Kind.STRING:
            return Column(kind, ids, _values(row["numbers"]))
        return Column(kind, ids, _values(row["codes"]), SortedDictionary(ArrowValues(row["strings"].values)))


class Blobs:
    """A column of bytes, read where it lies; an Arrow scalar per value would take ten times as long."""

    def __init__(self, values: pa.Array) -> None:
        _, offsets, data = values.buffers()
        # A memory view gives Python's own numbers, which NumPy would have to be asked for one by one.
        self._offsets = memoryview(offsets).cast("q")[values.offset :] if len(values) else memoryview(b"")
        self._data = memoryview(data) if data else memoryview(b"")
        self._count = len(values)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> bytes:
        return bytes(self._data[self._offsets[place] : self._offsets[place + 1]])

    def view(self, place: int) -> memoryview:
        """Without a copy."""
        return self._data[self._offsets[place] : self._offsets[place + 1]]


class ArrowValues:
    """An Arrow array as a sequence of Python values."""

    def __init__(self, values: pa.Array) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, place: int) -> Any:
        return self._values[place].as_py()


SCHEMAS: dict[str, pa.Schema] = {
    PRODUCTS: pa.schema(
        {
            "key": pa.large_binary(),
            "state": pa.large_binary(),
            "content_version": pa.int64(),
            "visible": pa.uint8(),
            "group": pa.binary(GROUP_BYTES),
        }
    ),
    KEYS: pa.schema({"hash": pa.uint64(), "slot": pa.int32()}),
    TENANTS: pa.schema({"tenant": pa.string(), "begin": pa.int32(), "end": pa.int32()}),
    EXTRA_ROWS: pa.schema({"slot": pa.int32()}),
    FIELDS: pa.schema(
        {
            "tenant": pa.string(),
            "name": pa.string(),
            "kind": pa.string(),
            "ids": pa.large_list(pa.int32()),
            "numbers": pa.large_list(pa.float64()),
            "codes": pa.large_list(pa.int32()),
            "strings": pa.large_list(pa.large_string()),
        }
    ),
}
"""The tables of a generation; one row of FIELDS is a whole column, of one kind of a field's values."""


def empty(dim: int, positions: dict[int, NextOffset], hash_of: HashOf = key_hash) -> Generation:
    """G0: nothing at all, before the first record of the log."""
    return Generation(
        manifest=None,
        positions=positions,
        tables={name: schema.empty_table() for name, schema in SCHEMAS.items()},
        exact=ExactRows(np.empty((0, dim), np.float16)),
        index=None,
        hash_of=hash_of,
    )


def load(folder: Path, manifest: Manifest, dim: int, hash_of: HashOf = key_hash) -> Generation:
    """Map the (verified) files of a build."""
    rows = manifest.rows
    vectors: npt.NDArray[np.float16] = (
        np.asarray(np.memmap(folder / VECTORS, np.float16, "r", shape=(rows, dim)))
        if rows
        else np.empty((0, dim), np.float16)
    )
    exact = ExactRows(np.asarray(vectors))
    return Generation(
        manifest=manifest,
        positions=manifest.positions,
        tables={name: read_table(folder / name) for name in SCHEMAS},
        exact=exact,
        index=ivf.load(folder / INDEX, manifest.index, exact) if manifest.index.nlist else None,
        hash_of=hash_of,
    )


def read_table(path: Path) -> pa.Table:
    """A mapped Arrow file in one chunk."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def write_table(table: pa.Table, path: Path) -> None:
    """One chunk, uncompressed, so that it can be mapped."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = _one_chunk(column).to_numpy(zero_copy_only=True)
    return values


def _fixed_bytes(values: pa.Array) -> npt.NDArray[np.void]:
    """(n,) of as many bytes as each has, mapped."""
    width = values.type.byte_width
    buffer = values.buffers()[1]
    whole = np.frombuffer(buffer, f"V{width}") if buffer else np.empty(0, f"V{width}")
    return whole[values.offset : values.offset + len(values)]


def _values(cell: pa.LargeListScalar) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = cell.values.to_numpy(zero_copy_only=True)
    return values


def _columns(fields: pa.Table) -> Iterator[tuple[str, str, Kind]]:
    for row in fields.select(["tenant", "name", "kind"]).to_pylist():
        yield row["tenant"], row["name"], Kind(row["kind"])


def _kinds(fields: pa.Table) -> KindsOfTenants:
    kinds: KindsOfTenants = {}
    for tenant, name, kind in _columns(fields):
        of_tenant = kinds.setdefault(tenant, {})
        of_tenant[name] = of_tenant.get(name, frozenset()) | {kind}
    return kinds


def _tenant_slots(tenants: pa.Table) -> dict[str, list[tuple[int, int]]]:
    slots: dict[str, list[tuple[int, int]]] = {}
    for row in tenants.to_pylist():
        slots.setdefault(row["tenant"], []).append((row["begin"], row["end"]))
    return slots
