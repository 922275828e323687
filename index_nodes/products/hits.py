"""A visible product in the form in which a search answers with it."""

from index_nodes.products.product import ProductState
from schemas.events import Attributes
from schemas.index_log import IndexedOffer
from schemas.shard import ShardHit


def hit_of(product_id: str, state: ProductState) -> ShardHit:
    """A visible product as a hit of similarity 0 in the main part, which whoever found it replaces."""
    content, offer, is_in_stock = state.content, state.offer, state.is_in_stock
    assert content is not None, product_id
    picture = None
    for view in content.views:
        if view.content_hash:
            picture = view.content_hash
            break
    return ShardHit(
        product_id=product_id,
        similarity=0.0,
        source="main",
        version=max(content.rank.version, offer.rank.version) if offer else content.rank.version,
        title=content.title,
        description=content.description,
        attributes=_with_offer(state.attributes, offer, is_in_stock),
        price=offer.price if offer else None,
        currency=offer.currency if offer else None,
        stock=offer.stock if offer else None,
        in_stock=is_in_stock,
        content_hash=picture,
        dup_group=content.dup_group,
        agreement=content.agreement,
        content_version=content.rank.version,
    )


def product_id_of(raw_key: bytes) -> str:
    """The product's own part of a key."""
    return raw_key.decode().partition("/")[2]


def _with_offer(attributes: Attributes, offer: IndexedOffer | None, is_in_stock: bool) -> Attributes:
    """The attributes, and the offer among them."""
    told = {**attributes, "in_stock": is_in_stock}
    if offer is not None:
        for name, value in (("price", offer.price), ("currency", offer.currency), ("stock", offer.stock)):
            if value is not None:
                told[name] = value
    return told
