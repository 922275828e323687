"""From what was asked to one vector of the lane's space."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from types import MappingProxyType
from typing import NamedTuple

import msgspec
import numpy as np

from query_api.encoder.client import QueryEncoder
from query_api.encoder.wire import EncodeAnswer, EncodeRequest, RegionsRequest
from query_api.query.parts import Crop, Part, composed
from query_api.query.request import Query
from query_api.shards.scatter import Scatter
from schemas.embeddings import Vector, from_fp16
from schemas.errors import DeadlineExceeded, InvalidQuery, NotFound
from schemas.lane import Lane
from schemas.shard import ShardLookup, ShardProduct


class QueryVector(msgspec.Struct, frozen=True):
    """The vector to search with.

    Attributes:
        vector: (dim,) float32 of unit norm; None for a filter alone.
        timings_ms: what decoding and encoding took.
        exclude: products that were asked about, and are no answer.
        flags: what is wrong with the pictures, those of each in turn; see :mod:`query_api.query.picture_gate`.
        is_fresh: whether the products that were asked about were looked up as fresh as asked.
        waited_ms: how long that was waited for, outside ``timeout_ms``.
    """

    vector: Vector | None
    timings_ms: dict[str, float]
    exclude: frozenset[str] = frozenset()
    flags: tuple[tuple[str, ...], ...] = ()
    is_fresh: bool = True
    waited_ms: float = 0.0


class _Product(NamedTuple):
    """The vector of a product's first view, and how it was looked up."""

    vector: Vector
    is_fresh: bool
    waited_ms: float


class QueryVectors:
    """Resolves queries: given vectors as they are, pictures and texts by the encoder, products by look-up."""

    def __init__(self, lane: Lane, encoder: QueryEncoder, scatter: Scatter) -> None:
        self._lane = lane
        self._encoder = encoder
        self._scatter = scatter

    async def resolve(
        self,
        query: Query,
        tenant: str,
        *,
        timeout_s: float,
        min_applied: Mapping[int, int] = MappingProxyType({}),
        wait_ms: int = 0,
    ) -> QueryVector:
        """The vector of a query; None for one with a filter only.

        Args:
            min_applied: what a shard has to have applied when it tells of products, waiting up to ``wait_ms`` for it.

        Raises:
            EncoderUnavailable, InvalidRecord: as the encoder says.
            NotFound, InvalidQuery: a product is not there, or has no picture to compare with; parts cancel out.
            ShardUnavailable: nobody knows the product now. DeadlineExceeded: a shard did not say in time.
        """
        parts = query.parts
        if len(parts) == 1 and parts[0].vector is not None:
            return QueryVector(parts[0].vector, {})
        if not parts:
            return QueryVector(None, {})
        encoded, looked_up = await asyncio.gather(
            self._encoded(parts, tenant, timeout_s=timeout_s),
            self._looked_up(parts, tenant, min_applied, wait_ms, timeout_s=timeout_s),
        )
        given = {place: part.vector for place, part in enumerate(parts) if part.vector is not None}
        vectors = given | encoded.vectors | {place: product.vector for place, product in looked_up.items()}
        return QueryVector(
            composed([vectors[place] for place in range(len(parts))], [part.weight for part in parts]),
            encoded.timings_ms,
            frozenset(part.product_id for part in parts if part.product_id is not None),
            encoded.flags,
            is_fresh=all(product.is_fresh for product in looked_up.values()),
            waited_ms=max((product.waited_ms for product in looked_up.values()), default=0.0),
        )

    async def regions(self, image: bytes, *, timeout_s: float) -> tuple[Crop, ...]:
        """Where objects may be in a picture; raises EncoderUnavailable, InvalidRecord."""
        return (await self._encoder.regions(RegionsRequest(image=image), timeout_s=timeout_s)).boxes

    async def _of_product(self, product_id: str, tenant: str, min_applied: Mapping[int, int], wait_ms: int) -> _Product:
        found = await self._scatter.lookup(self._lookup(product_id, tenant, True, min_applied, wait_ms))
        product = next((product for answer in found.answers for product in answer.products), None)
        if product is None or not product.visible:
            raise NotFound(f"there is no product {product_id!r} in tenant {tenant!r}")
        if not product.vectors:
            raise InvalidQuery(f"product {product_id!r} has no picture or vector to compare with")
        return _Product(
            from_fp16(product.vectors[0], self._lane.space.dim),
            all(answer.freshness_met for answer in found.answers),
            max(answer.waited_ms for answer in found.answers),
        )

    async def product(self, product_id: str, tenant: str, *, with_vectors: bool = False) -> ShardProduct | None:
        """A product as the fold has it; None if it was never seen. Raises ShardUnavailable."""
        found = await self._scatter.lookup(self._lookup(product_id, tenant, with_vectors))
        return next((product for answer in found.answers for product in answer.products), None)

    def _lookup(
        self,
        product_id: str,
        tenant: str,
        with_vectors: bool,
        min_applied: Mapping[int, int] = MappingProxyType({}),
        wait_ms: int = 0,
    ) -> ShardLookup:
        return ShardLookup(
            lane=self._lane.name,
            layout_id=self._lane.layout.layout_id,
            tenant=tenant,
            product_ids=(product_id,),
            with_vectors=with_vectors,
            min_applied=dict(min_applied),
            wait_ms=wait_ms,
        )

    async def _encoded(self, parts: Sequence[Part], tenant: str, *, timeout_s: float) -> "_Encoded":
        """The vectors of pictures and texts by their place; a picture and a text travel together."""
        pictures = [place for place, part in enumerate(parts) if part.kind == "image"]
        texts = [place for place, part in enumerate(parts) if part.kind == "text"]
        pairs = list(zip_longest(pictures, texts))
        answers = await asyncio.gather(
            *(self._encoder.encode(_request(parts, *pair, tenant), timeout_s=timeout_s) for pair in pairs)
        )
        return _encoded(pairs, answers)

    async def _looked_up(
        self, parts: Sequence[Part], tenant: str, min_applied: Mapping[int, int], wait_ms: int, *, timeout_s: float
    ) -> dict[int, _Product]:
        wanted = {place: part.product_id for place, part in enumerate(parts) if part.product_id is not None}
        if not wanted:
            return {}
        try:
            async with asyncio.timeout(timeout_s + wait_ms / 1000):
                products = await asyncio.gather(
                    *(self._of_product(product_id, tenant, min_applied, wait_ms) for product_id in wanted.values())
                )
        except TimeoutError:
            raise DeadlineExceeded("timeout_ms is used up before the product that was asked about was known") from None
        return dict(zip(wanted, products, strict=True))


class _Encoded(NamedTuple):
    vectors: dict[int, Vector]
    timings_ms: dict[str, float]
    flags: tuple[tuple[str, ...], ...]


_Pair = tuple[int | None, int | None]
"""The places of a picture and of a text; None: there is none left."""


def _request(parts: Sequence[Part], picture: int | None, text: int | None, tenant: str) -> EncodeRequest:
    shown = Part() if picture is None else parts[picture]
    said = None if text is None else parts[text].text
    return EncodeRequest(image=shown.image, crop=shown.crop, text=said, tenant=tenant)


def _encoded(pairs: Sequence[_Pair], answers: Sequence[EncodeAnswer]) -> _Encoded:
    vectors: dict[int, Vector] = {}
    for (picture, text), answer in zip(pairs, answers, strict=True):
        for place, raw in ((picture, answer.image), (text, answer.text)):
            if place is not None and raw is not None:
                vectors[place] = np.frombuffer(raw, dtype="<f4")
    if not answers:
        return _Encoded({}, {}, ())
    # They ran at the same time, so the longest is what it took.
    timings = {
        "decode": max(answer.decode_ms for answer in answers),
        "encode": max(answer.encode_ms for answer in answers),
    }
    flags = tuple(answer.flags for (picture, _), answer in zip(pairs, answers, strict=True) if picture is not None)
    return _Encoded(vectors, timings, flags)
