"""From what was asked to one vector of the lane's space."""

from typing import NamedTuple

import numpy as np

from query_api.encoder_client import QueryEncoder
from query_api.encoder_wire import EncodeRequest
from query_api.scatter import Scatter
from query_api.search_request import Query
from schemas.embeddings import Vector, from_fp16
from schemas.errors import InvalidQuery, NotFound
from schemas.lane import Lane
from schemas.shard import ShardLookup, ShardProduct


class QueryVector(NamedTuple):
    """The vector to search with, and what finding it took; ``exclude``: the product that was asked about."""

    vector: Vector | None
    timings_ms: dict[str, float]
    exclude: str | None = None


class QueryVectors:
    """Resolves queries: given vectors as they are, pictures and texts by the encoder, products by look-up."""

    def __init__(self, lane: Lane, encoder: QueryEncoder, scatter: Scatter) -> None:
        self._lane = lane
        self._encoder = encoder
        self._scatter = scatter

    async def resolve(self, query: Query, tenant: str, *, timeout_s: float) -> QueryVector:
        """The vector of a query; None for one with a filter only.

        Raises:
            EncoderUnavailable, InvalidRecord: as the encoder says.
            NotFound, InvalidQuery: the product is not there, or has no picture to compare with.
            ShardUnavailable: nobody knows the product now.
        """
        if query.vector is not None or query.modality == "filter":
            return QueryVector(query.vector, {})
        if query.product_id is not None:
            return QueryVector(await self.of_product(query.product_id, tenant), {}, query.product_id)
        request = EncodeRequest(image=query.image, crop=query.crop, text=query.text)
        answer = await self._encoder.encode(request, timeout_s=timeout_s)
        timings = {"decode": answer.decode_ms, "encode": answer.encode_ms}
        return QueryVector(fused(answer.image, answer.text, query.text_weight), timings)

    async def of_product(self, product_id: str, tenant: str) -> Vector:
        """The vector of a product's first view; raises as :meth:`resolve`."""
        product = await self.product(product_id, tenant, with_vectors=True)
        if product is None or not product.visible:
            raise NotFound(f"there is no product {product_id!r} in tenant {tenant!r}")
        if not product.vectors:
            raise InvalidQuery(f"product {product_id!r} has no picture or vector to compare with")
        return from_fp16(product.vectors[0], self._lane.space.dim)

    async def product(self, product_id: str, tenant: str, *, with_vectors: bool = False) -> ShardProduct | None:
        """A product as the fold has it; None if it was never seen. Raises ShardUnavailable."""
        found = await self._scatter.lookup(
            ShardLookup(
                lane=self._lane.name,
                layout_id=self._lane.layout.layout_id,
                tenant=tenant,
                product_ids=(product_id,),
                with_vectors=with_vectors,
            )
        )
        return next((product for answer in found.answers for product in answer.products), None)


def fused(image: bytes | None, text: bytes | None, text_weight: float) -> Vector:
    """Early fusion: the weighted sum of picture and text, of unit norm again. One of them alone is itself.

    Raises:
        InvalidQuery: picture and text cancel out.
    """
    vectors = [np.frombuffer(raw, dtype="<f4") for raw in (image, text) if raw is not None]
    if len(vectors) == 1:
        return vectors[0]
    total = (1 - text_weight) * vectors[0] + text_weight * vectors[1]
    norm = float(np.linalg.norm(total))
    if norm < 1e-6:
        raise InvalidQuery("picture and text say opposite things; choose another text_weight")
    return (total / norm).astype(np.float32)
