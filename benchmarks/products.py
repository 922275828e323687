"""Products made of vectors: the records of index-log that a catalogue of them would have led to.

Product n has row n as its one view, a title, a price and fields to filter by: ``lot`` (0 to 999, at random: the
share of products below L is L/1000) and ``near_0`` to ``near_3``: which share of all products is nearer to an anchor
than it is. Filters on ``lot`` have nothing to do with a query; filters on ``near_a`` do, if the query lies near the
anchor a, or far from it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.vectors import Half, Single, VectorSet
from schemas.embeddings import Space
from schemas.events import Attributes, Source
from schemas.framing import INDEX_LOG
from schemas.hashing import group_digest, view_hash
from schemas.identity import ProductKey, partition_of
from schemas.index_log import IndexedContent, IndexedDelete, IndexedOffer, IndexedView, IndexLogRecord
from schemas.join import Rank
from schemas.lane import Lane
from schemas.layout import Layout

TENANT = "default"
ANCHORS = 4
_ANCHOR_NEIGHBOURS = 1_000
_SOURCE = Source("product-added", 0, 0, 1_795_000_000_000)
_WORDS = ("linen", "summer", "wide", "striped", "small", "evening", "wool", "straight", "soft", "classic")


def lane_of(dim: int) -> Lane:
    """A lane of 8 partitions in one shard."""
    return Lane("bench", Space("bench-1", dim), Layout(8, 1))


@dataclass(frozen=True)
class Products:
    """``vectors`` (n, dim); the first ``main`` are for the generation. ``lots`` (n,), ``near`` (ANCHORS, n)."""

    vectors: Half
    lots: npt.NDArray[np.int64]
    near: Single
    anchors: Single
    lane: Lane

    def added(self, number: int, version: int = 1, row: int | None = None) -> tuple[int, bytes]:
        """The partition and record of product ``number`` with the vector of ``row`` (by default its own)."""
        row = number if row is None else row
        raw = self.vectors[row].astype("<f2").tobytes()
        view = IndexedView(view_hash("vector", raw, decode_version=1, epoch=0), "vector", raw)
        title = " ".join(_WORDS[int(digit)] for digit in str(number))
        attributes: Attributes = {"lot": int(self.lots[row])}
        attributes |= {f"near_{anchor}": round(float(self.near[anchor, row]), 5) for anchor in range(ANCHORS)}
        rank = Rank(version, 0, 1, group_digest((title, attributes, [view.view_hash])))
        content = IndexedContent(rank, self.lane.space.name, title, None, attributes, (view,), b"")
        return self._record(number, content=content, offer=_offer(number % 97 + 0.99, version))

    def priced(self, number: int, price: float, version: int) -> tuple[int, bytes]:
        """A change of the price, and nothing else."""
        return self._record(number, offer=_offer(price, version))

    def deleted(self, number: int, version: int) -> tuple[int, bytes]:
        """The end of a product."""
        return self._record(number, deleted=IndexedDelete(Rank(version), None))

    def _record(
        self,
        number: int,
        content: IndexedContent | None = None,
        offer: IndexedOffer | None = None,
        deleted: IndexedDelete | None = None,
    ) -> tuple[int, bytes]:
        record = IndexLogRecord(TENANT, product_id(number), _SOURCE, content=content, offer=offer, deleted=deleted)
        key = ProductKey(TENANT, record.product_id)
        return partition_of(key, self.lane.layout.partitions), INDEX_LOG.encode(record)


def product_id(number: int) -> str:
    """The id of product ``number``."""
    return f"p{number}"


def numbers_of(ids: Iterable[str]) -> list[int]:
    """The inverse of ``product_id``."""
    return [int(each[1:]) for each in ids]


def products_of(vectors: VectorSet) -> Products:
    """A product for each row of a set, main and extra."""
    return made_of(vectors.all, vectors.dim, len(vectors.rows))


def made_of(vectors: Half, dim: int, sample: int) -> Products:
    """A product for each row; anchors are taken from the first ``sample`` rows."""
    random = np.random.default_rng(11)
    some = np.ascontiguousarray(vectors[: min(sample, 50_000)], dtype=np.float32)
    anchors = _anchors(some, random)
    near = np.empty((ANCHORS, len(vectors)), np.float32)
    ordered = np.sort(-(anchors @ some.T), axis=1)
    for start in range(0, len(vectors), 65_536):
        part = vectors[start : start + 65_536].astype(np.float32)
        for anchor in range(ANCHORS):
            places = np.searchsorted(ordered[anchor], -(part @ anchors[anchor]))
            near[anchor, start : start + len(part)] = places / len(some)
    return Products(vectors, random.integers(0, 1000, len(vectors)), near, anchors, lane_of(dim))


def _anchors(vectors: Single, random: np.random.Generator) -> Single:
    """Middles of four neighbourhoods."""
    found = []
    for row in random.choice(len(vectors), ANCHORS, replace=False):
        scores = vectors @ vectors[row]
        middle = vectors[np.argpartition(-scores, _ANCHOR_NEIGHBOURS)[:_ANCHOR_NEIGHBOURS]].mean(axis=0)
        found.append(middle / np.linalg.norm(middle))
    return np.stack(found).astype(np.float32)


def _offer(price: float, version: int) -> IndexedOffer:
    rank = Rank(version, 0, 0, group_digest((price, "EUR", None, {})))
    return IndexedOffer(rank, price, "EUR", None, None, {})
