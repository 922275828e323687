"""A catalogue's own clicks to learn from: exported training pairs, and the pictures of the products they name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from freshlens.cli.evaluate import entries
from processors.encoders.encoder import PictureForm
from processors.pictures.decode import decode
from schemas.embeddings import Space, Vector, from_fp16
from schemas.errors import InvalidRecord, SettingsError
from topics.store import ObjectStore, original_key

HELD_OUT_OF = 8
"""Of so many queries one is kept for the gates of a release; chosen by its id, so that it stays the same one."""
POSITION_BIAS = 1.0
"""Shoppers look at position p about 1/p as often as at the first: a click there says p times as much, up to a limit."""
BIAS_MAX = 10.0
NEAR_BITS = 6
"""Perceptual hashes that differ in at most so many of their 64 bits are of one picture."""


@dataclass(frozen=True)
class Shop:
    """Products with a picture, by row: ids, categories ("" without one), (n, side, side, 3) pixels, 64-bit hashes."""

    product_ids: list[str]
    categories: list[str]
    pixels: NDArray[np.uint8]
    hashes: NDArray[np.uint64]


@dataclass(frozen=True)
class Pair:
    """What was asked, by text or by the embedding of a photo, and the row of the product that was chosen."""

    query_id: str
    product: int
    weight: float
    text: str | None = None
    embedding: Vector | None = None

    @property
    def is_held_out(self) -> bool:
        """Whether it is kept for the gates of a release.

        Of one text all searches are, or none: it would else be asked for in the gates after it was learned from.
        """
        asked = self.query_id if self.text is None else self.text.strip().casefold()
        return blake2b(asked.encode(), digest_size=2).digest()[0] % HELD_OUT_OF == 0


@dataclass(frozen=True)
class Clicks:
    """Pairs that can be learned from, and how many were left out, by reason."""

    pairs: list[Pair]
    left_out: Counter[str] = field(default_factory=Counter)


def load_shop(catalogues: Sequence[Path], form: PictureForm, store: ObjectStore | None = None) -> Shop:
    """The products of JSON lines as for `freshlens publish`, of each its first picture.

    Args:
        store: of a running product; lines without ``image`` may name an original in it: ``"content_hash": "<hex>"``.

    Raises:
        SettingsError: a line without a picture, or no line at all.
    """
    ids, categories, pixels, hashes = [], [], [], []
    for line in (line for path in catalogues for line in _lines(path)):
        decoded = decode(_picture(line, store), form)
        ids.append(str(line["product_id"]))
        categories.append(str(line.get("category") or ""))
        pixels.append(decoded.pixels)
        hashes.append(int.from_bytes(decoded.phash, "big"))
    if not ids:
        raise SettingsError("the catalogue is empty")
    return Shop(ids, categories, np.stack(pixels), np.array(hashes, np.uint64))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in entries(path, None, pictured=False):
        yield {**line, "folder": path.parent}


def _picture(line: dict[str, Any], store: ObjectStore | None) -> bytes:
    image = line.get("image") or next(iter(line.get("images") or []), None)
    if isinstance(image, str):
        return (Path(line["folder"]) / image).read_bytes()
    if store is not None and line.get("content_hash"):
        return store.get(original_key(str(line["content_hash"])))
    raise SettingsError(f"product {line['product_id']}: no picture")


def load_clicks(folder: Path, shop: Shop, space: Space, tenant: str = "default") -> Clicks:
    """Pairs of the Parquet files that `freshlens export training-pairs` wrote; each query and product once.

    A query by photo has left only its embedding: it is used where it is of ``space``, that of the model to begin with.

    Raises:
        SettingsError: no such file in the folder.
    """
    files = sorted(folder.glob("training-pairs-*.parquet"))
    if not files:
        raise SettingsError(f"{folder} has no training-pairs-*.parquet: freshlens export training-pairs --to {folder}")
    rows = {product_id: row for row, product_id in enumerate(shop.product_ids)}
    found: dict[tuple[str, int], Pair] = {}
    left_out: Counter[str] = Counter()
    for file in files:
        for record in pq.read_table(file).to_pylist():
            made = _pair(record, rows, space, tenant)
            if isinstance(made, str):
                left_out[made] += 1
            else:
                found[made.query_id, made.product] = made
    return Clicks(list(found.values()), left_out)


def _pair(record: dict[str, Any], rows: dict[str, int], space: Space, tenant: str) -> Pair | str:
    if record["tenant"] != tenant:
        return "another tenant"
    product = rows.get(record["product_id"])
    if product is None:
        return "product not in the catalogue"
    weight = float(record["weight"]) * min(BIAS_MAX, max(1, record["position"]) ** POSITION_BIAS)
    if record["text"]:
        return Pair(record["query_id"], product, weight, text=record["text"])
    if record["space"] != str(space) or record["embedding"] is None:
        return "embedding of another space"
    try:
        return Pair(record["query_id"], product, weight, embedding=from_fp16(record["embedding"], space.dim))
    except InvalidRecord:
        return "damaged embedding"


def alike(shop: Shop, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(rows, columns) booleans: the same product, or pictures that look the same."""
    bits = np.unpackbits(shop.hashes.view(np.uint8).reshape(-1, 8), axis=1).astype(np.float32)
    one, other = bits[rows], bits[columns]
    differ = one.sum(axis=1)[:, None] + other.sum(axis=1)[None, :] - 2 * one @ other.T
    same: NDArray[np.bool_] = (rows[:, None] == columns[None, :]) | (differ <= NEAR_BITS)
    return same
