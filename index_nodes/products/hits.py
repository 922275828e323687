"""A visible product in the form in which a search answers with it."""

from index_nodes.products.product import ProductState
from schemas.shard import ShardHit


def hit_of(raw_key: bytes, state: ProductState) -> ShardHit:
    """A visible product as a hit of similarity 0 in the main part, which whoever found it replaces."""
    content, offer = state.content, state.offer
    assert content is not None, raw_key
    picture = None
    for view in content.views:
        if view.content_hash:
            picture = view.content_hash
            break
    price = currency = stock = None
    is_in_stock, version = True, content.rank.version
    attributes = {**state.attributes}
    if offer is not None:
        price, currency, stock, is_in_stock = offer.price, offer.currency, offer.stock, state.is_in_stock
        version = max(version, offer.rank.version)
        for name, value in (("price", price), ("currency", currency), ("stock", stock)):
            if value is not None:
                attributes[name] = value
    attributes["in_stock"] = is_in_stock
    return ShardHit(
        product_id=raw_key.decode().partition("/")[2],
        similarity=0.0,
        source="main",
        version=version,
        title=content.title,
        description=content.description,
        attributes=attributes,
        price=price,
        currency=currency,
        stock=stock,
        in_stock=is_in_stock,
        content_hash=picture,
        dup_group=content.dup_group,
        agreement=content.agreement,
        content_version=content.rank.version,
    )
