"""Writing a generation: the products of a view, in key order, as files that can be mapped."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from index_nodes import ivf
from index_nodes.columns import PRODUCT_ID, Kind, field_values, kind_of
from index_nodes.generation import (
    EXTRA_ROWS,
    FIELDS,
    INDEX,
    KEYS,
    PRODUCTS,
    SCHEMAS,
    TENANTS,
    VECTORS,
    Generation,
    write_table,
)
from index_nodes.manifest import IndexFacts
from index_nodes.overlay import RowIds
from index_nodes.product import ProductState
from index_nodes.view import IndexView
from schemas.hashing import key_hash
from schemas.identity import ProductKey

_DIGEST_BITS = 128


@dataclass(frozen=True, slots=True)
class BuiltProduct:
    """One product on its way into a generation, with its rows in the view it comes from."""

    raw_key: bytes
    state: ProductState
    rows: RowIds

    @property
    def key(self) -> ProductKey:
        tenant, _, product_id = self.raw_key.decode().partition("/")
        return ProductKey(tenant, product_id)


@dataclass(frozen=True, slots=True)
class Built:
    """What was written, in the manifest's words."""

    slots: int
    rows: int
    first_rows: int
    products: int
    tombstones: int
    index: IndexFacts
    digest: str


def write_generation(view: IndexView, folder: Path) -> Built:
    """Write all that the view holds: every product ever seen, and every live row. Dead rows are left out.

    Returns:
        Facts for the manifest; ``index.recall_at_10`` is measured, and for the caller to judge.
    """
    products = _ordered(view)
    with_rows = sum(bool(product.rows) for product in products)
    first = [product.rows[0] for product in products[:with_rows]]
    extra = [(slot, row) for slot, product in enumerate(products[:with_rows]) for row in product.rows[1:]]
    rows = len(first) + len(extra)
    vectors = _write_vectors(view, [*first, *(row for _, row in extra)], folder / VECTORS)
    write_table(_products_table(products), folder / PRODUCTS)
    write_table(_keys_table(products), folder / KEYS)
    write_table(_tenants_table(products, with_rows), folder / TENANTS)
    write_table(_table(EXTRA_ROWS, {"slot": [slot for slot, _ in extra]}), folder / EXTRA_ROWS)
    write_table(_fields_table(products, view.overlay.overlay.kinds), folder / FIELDS)
    return Built(
        slots=len(products),
        rows=rows,
        first_rows=with_rows,
        products=sum(product.state.is_visible for product in products),
        tombstones=sum(product.state.deleted is not None for product in products),
        index=_write_index(vectors, folder / INDEX),
        digest=digest_of((product.raw_key, product.state.to_bytes()) for product in products),
    )


def digest_of(states: Iterator[tuple[bytes, bytes]]) -> str:
    """The logical content: a sum of hashes of (key, state), so that neither order nor files matter (HOLES 24)."""
    total = 0
    for key, state in states:
        hasher = hashlib.blake2b(key, digest_size=_DIGEST_BITS // 8)
        hasher.update(b"\0" + state)
        total += int.from_bytes(hasher.digest(), "little")
    return f"{total % (1 << _DIGEST_BITS):032x}"


def digest_of_generation(generation: Generation) -> str:
    """The digest of what a loaded generation holds."""
    return digest_of((generation.keys.raw(slot), bytes(generation.raw_state(slot))) for slot in range(generation.slots))


def _ordered(view: IndexView) -> list[BuiltProduct]:
    """Products with rows in key order, then those without; equal input gives equal files."""
    products = [BuiltProduct(view.keys.raw(slot), view.state(slot), view.rows(slot)) for slot in range(view.slots)]
    return sorted(products, key=lambda product: (not product.rows, product.raw_key))


def _write_vectors(view: IndexView, rows: list[int], path: Path) -> npt.NDArray[np.float16]:
    main, dim = len(view.generation), view.generation.vectors.shape[1]
    if not rows:
        path.touch()
        return np.empty((0, dim), np.float16)
    vectors = np.memmap(path, np.float16, "w+", shape=(len(rows), dim))
    wanted = np.asarray(rows)
    is_main = wanted < main
    vectors[is_main] = view.generation.vectors[wanted[is_main]]
    for segment in view.delta.segments:
        begin = main + segment.first_row
        inside = (wanted >= begin) & (wanted < begin + len(segment))
        vectors[inside] = segment.vectors_of(wanted[inside] - begin).astype(np.float16)
    vectors.flush()
    return vectors


def _write_index(vectors: npt.NDArray[np.float16], path: Path) -> IndexFacts:
    if len(vectors) <= ivf.FLAT_ROWS_MAX:
        return IndexFacts()
    index, facts = ivf.build(vectors)
    ivf.save(index, path)
    return facts


def _table(name: str, columns: dict[str, object]) -> pa.Table:
    return pa.table(columns, schema=SCHEMAS[name])


def _products_table(products: list[BuiltProduct]) -> pa.Table:
    columns: dict[str, object] = {
        "key": [product.raw_key for product in products],
        "state": [product.state.to_bytes() for product in products],
        "content_version": [product.state.content_version for product in products],
        "visible": [int(product.state.is_visible) for product in products],
    }
    return _table(PRODUCTS, columns)


def _keys_table(products: list[BuiltProduct]) -> pa.Table:
    hashes = np.asarray([key_hash(product.raw_key) for product in products], np.uint64)
    order = np.argsort(hashes, kind="stable").astype(np.int32)
    return _table(KEYS, {"hash": hashes[order], "slot": order})


def _tenants_table(products: list[BuiltProduct], with_rows: int) -> pa.Table:
    """Runs of slots of one tenant: at most two each, as both halves are in key order."""
    runs: list[tuple[str, int, int]] = []
    for half in (range(with_rows), range(with_rows, len(products))):
        for tenant, group in groupby(half, key=lambda slot: products[slot].key.tenant):
            slots = list(group)
            runs.append((tenant, slots[0], slots[-1] + 1))
    tenants, begins, ends = zip(*runs, strict=True) if runs else ((), (), ())
    return _table(TENANTS, {"tenant": list(tenants), "begin": list(begins), "end": list(ends)})


class _FieldPairs:
    """The pairs of one field while they are collected."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.values: list[object] = []

    def row(self, tenant: str, name: str, kind: Kind) -> dict[str, object]:
        row: dict[str, object] = {"tenant": tenant, "name": name, "kind": kind.value, "ids": self.ids}
        if kind is not Kind.STRING:
            return {**row, "numbers": [float(value) for value in self.values], "codes": [], "strings": []}  # type: ignore[arg-type]
        strings = sorted({str(value) for value in self.values})
        codes = {string: code for code, string in enumerate(strings)}
        return {**row, "numbers": [], "codes": [codes[str(value)] for value in self.values], "strings": strings}


def _fields_table(products: list[BuiltProduct], kinds: dict[str, dict[str, Kind]]) -> pa.Table:
    """One row per field of a tenant. A field keeps its kind, so values of other kinds stay in the product only."""
    kinds = {tenant: dict(of_tenant) for tenant, of_tenant in kinds.items()}
    pairs: dict[tuple[str, str], _FieldPairs] = {}
    for slot, product in enumerate(products):
        if not product.state.is_visible:
            continue
        key = product.key
        for name, value in field_values(key.product_id, product.state):
            kind = kind_of(value)
            # A kind is forgotten with the last value that had it; then the next kind takes the field.
            if kinds.setdefault(key.tenant, {}).setdefault(name, kind) is kind:
                found = pairs.setdefault((key.tenant, name), _FieldPairs())
                if name == PRODUCT_ID:
                    continue  # found by key; the row only says that the field exists
                for each in value if isinstance(value, tuple) else (value,):
                    found.ids.append(slot)
                    found.values.append(each)
    rows = [found.row(tenant, name, kinds[tenant][name]) for (tenant, name), found in sorted(pairs.items())]
    return pa.Table.from_pylist(rows, schema=SCHEMAS[FIELDS])
