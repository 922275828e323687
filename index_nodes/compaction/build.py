"""Writing a generation: the products of a view, in key order, as files that can be mapped."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from index_nodes.generations import ivf
from index_nodes.generations.generation import (
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
from index_nodes.generations.manifest import IndexFacts
from index_nodes.products.columns import field_values
from index_nodes.products.digest import Digest, digest_of, total
from index_nodes.products.overlay import RowIds
from index_nodes.products.product import ProductState, decode_state, group_id
from index_nodes.views.view import IndexView
from schemas.fields import PRODUCT_ID, Kind, kind_of
from schemas.hashing import key_hash
from schemas.identity import ProductKey, partition_of
from schemas.layout import Layout

_ROWS_WRITTEN = 65_536


@dataclass(frozen=True, slots=True)
class BuiltProduct:
    """One product on its way into a generation, with its rows in the view it comes from.

    The state is kept as bytes and decoded when asked for: as objects, all products at once take kilobytes each.
    """

    raw_key: bytes
    raw_state: bytes
    rows: RowIds

    @property
    def state(self) -> ProductState:
        return decode_state(self.raw_state)

    @property
    def key(self) -> ProductKey:
        tenant, _, product_id = self.raw_key.decode().partition("/")
        return ProductKey(tenant, product_id)


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What a build does beside writing down the view.

    Attributes:
        drop_tombstones_before_ms: a product of which only a deletion is known is forgotten if that is older, by the
            broker time of the event.
        retrain: why the index is trained anew; None keeps the codebook of the generation below, if it has one.
    """

    drop_tombstones_before_ms: int = 0
    retrain: str | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """What was written, in the manifest's words."""

    slots: int
    rows: int
    first_rows: int
    products: int
    tombstones: int
    dropped_tombstones: int
    index: IndexFacts
    digests: dict[str, str]


def write_generation(view: IndexView, layout: Layout, folder: Path, options: BuildOptions) -> Built:
    """Write all that the view holds: every product known, and every live row. Dead rows are left out.

    Returns:
        Facts for the manifest; ``index.recall_at_10`` is measured, and for the caller to judge.
    """
    products, dropped = _ordered(view, options.drop_tombstones_before_ms)
    with_rows = sum(bool(product.rows) for product in products)
    first = [product.rows[0] for product in products[:with_rows]]
    extra = [(slot, row) for slot, product in enumerate(products[:with_rows]) for row in product.rows[1:]]
    rows_of_view = np.asarray([*first, *(row for _, row in extra)], np.int64)
    vectors = _write_vectors(view, rows_of_view, folder / VECTORS)
    write_table(_products_table(products), folder / PRODUCTS)
    write_table(_keys_table(products), folder / KEYS)
    write_table(_tenants_table(products, with_rows), folder / TENANTS)
    write_table(_table(EXTRA_ROWS, {"slot": [slot for slot, _ in extra]}), folder / EXTRA_ROWS)
    write_table(_fields_table(products), folder / FIELDS)
    return Built(
        slots=len(products),
        rows=len(rows_of_view),
        first_rows=with_rows,
        products=sum(product.state.is_visible for product in products),
        tombstones=sum(product.state.deleted is not None for product in products),
        dropped_tombstones=len(dropped),
        index=_write_index(vectors, folder / INDEX, _template(view, options), _recent(view, rows_of_view)),
        digests={str(partition): str(digest) for partition, digest in _digests(view, layout, dropped).items()},
    )


def digest_of_generation(generation: Generation) -> Digest:
    """The digest of what a loaded generation holds, over all its partitions."""
    return total(digest_of(generation.keys.raw(slot), generation.state(slot)) for slot in range(generation.slots))


def _ordered(view: IndexView, horizon_ms: int) -> tuple[list[BuiltProduct], list[BuiltProduct]]:
    """Products with rows in key order, then those without; and tombstones that may be forgotten.

    Equal input gives equal files.
    """
    kept: list[BuiltProduct] = []
    dropped: list[BuiltProduct] = []
    for slot in range(view.slots):
        product = BuiltProduct(view.keys.raw(slot), view.raw_state(slot), view.rows(slot))
        (dropped if _is_forgotten(product, horizon_ms) else kept).append(product)
    return sorted(kept, key=lambda product: (not product.rows, product.raw_key)), dropped


def _is_forgotten(product: BuiltProduct, horizon_ms: int) -> bool:
    if product.rows:
        return False
    state = product.state
    return state.is_tombstone and state.deleted_at_ms < horizon_ms


def _digests(view: IndexView, layout: Layout, dropped: list[BuiltProduct]) -> dict[int, Digest]:
    digests = dict(view.digests)
    for product in dropped:
        digests[partition_of(product.key, layout.partitions)] -= digest_of(product.raw_key, product.state)
    return digests


def _write_vectors(view: IndexView, rows: npt.NDArray[np.int64], path: Path) -> npt.NDArray[np.float16]:
    # Written and then mapped: where a disk is full a write is refused, while a writable mapping ends the process.
    with path.open("wb") as file:
        for start in range(0, len(rows), _ROWS_WRITTEN):
            file.write(_vectors_of(view, rows[start : start + _ROWS_WRITTEN]).data)
    dim = view.generation.vectors.shape[1]
    return np.memmap(path, np.float16, "r", shape=(len(rows), dim)) if len(rows) else np.empty((0, dim), np.float16)


def _vectors_of(view: IndexView, wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
    """(m, dim) float16 of rows of the view."""
    main = len(view.generation)
    vectors = np.empty((len(wanted), view.generation.vectors.shape[1]), np.float16)
    is_main = wanted < main
    vectors[is_main] = view.generation.vectors[wanted[is_main]]
    for segment in view.delta.segments:
        begin = main + segment.first_row
        inside = (wanted >= begin) & (wanted < begin + len(segment))
        vectors[inside] = segment.vectors[wanted[inside] - begin]
    return vectors


def _template(view: IndexView, options: BuildOptions) -> ivf.IvfIndex | None:
    return view.generation.index if options.retrain is None else None


def _recent(view: IndexView, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
    """Which of the written rows are not in the generation below; None where there is none."""
    main = len(view.generation)
    return np.flatnonzero(rows >= main) if main else None


def _write_index(
    vectors: npt.NDArray[np.float16],
    path: Path,
    template: ivf.IvfIndex | None,
    recent: npt.NDArray[np.int64] | None,
) -> IndexFacts:
    if len(vectors) <= ivf.FLAT_ROWS_MAX:
        return IndexFacts()
    index, facts = ivf.build(vectors, template, recent)
    ivf.save(index, path)
    return facts


def _table(name: str, columns: dict[str, object]) -> pa.Table:
    return pa.table(columns, schema=SCHEMAS[name])


def _products_table(products: list[BuiltProduct]) -> pa.Table:
    derived = [_derived(product) for product in products]
    versions, visible, groups = zip(*derived, strict=True) if derived else ((), (), ())
    columns: dict[str, object] = {
        "key": [product.raw_key for product in products],
        "state": [product.raw_state for product in products],
        "content_version": versions,
        "visible": visible,
        "group": groups,
    }
    return _table(PRODUCTS, columns)


def _derived(product: BuiltProduct) -> tuple[int, int, bytes]:
    """What searches ask of every product, out of its state: content version, whether it is visible, group."""
    state = product.state
    return state.content_version, int(state.is_visible), group_id(product.raw_key, state)


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


def _fields_table(products: list[BuiltProduct]) -> pa.Table:
    """One row for each kind of value that a field of a tenant has."""
    pairs: dict[tuple[str, str, Kind], _FieldPairs] = {}
    for slot, product in enumerate(products):
        state = product.state
        if not state.is_visible:
            continue
        key = product.key
        for name, value in field_values(key.product_id, state):
            found = pairs.setdefault((key.tenant, name, kind_of(value)), _FieldPairs())
            if name == PRODUCT_ID:
                continue  # found by key; the row only says that the field exists
            for each in value if isinstance(value, tuple) else (value,):
                found.ids.append(slot)
                found.values.append(each)
    columns = sorted(pairs, key=lambda column: (*column[:2], column[2].value))
    rows = [pairs[column].row(*column) for column in columns]
    return pa.Table.from_pylist(rows, schema=SCHEMAS[FIELDS])
