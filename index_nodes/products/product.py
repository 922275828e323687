"""The state of one product, and the fold of one record into it: pure, the same for node and compactor."""

from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from schemas.events import Attributes
from schemas.index_log import IndexedContent, IndexedDelete, IndexedOffer, IndexedView, IndexLogRecord
from schemas.join import Decision, Ranks, decide

GROUP_BYTES = 16


class ProductState(msgspec.Struct, frozen=True):
    """What the log says of one product. Views are distinct and without their vectors, which are rows.

    ``deleted_at_ms``: broker time of the event behind ``deleted``, from which a tombstone's age is counted.
    """

    content: IndexedContent | None = None
    offer: IndexedOffer | None = None
    deleted: IndexedDelete | None = None
    deleted_at_ms: int = 0

    @property
    def ranks(self) -> Ranks:
        return Ranks(
            self.content.rank if self.content else None,
            self.offer.rank if self.offer else None,
            self.deleted.rank if self.deleted else None,
        )

    @property
    def is_visible(self) -> bool:
        return self.content is not None

    @property
    def views(self) -> tuple[IndexedView, ...]:
        return self.content.views if self.content else ()

    @property
    def content_version(self) -> int:
        """The version of the content, -1 where there is none."""
        return self.content.rank.version if self.content else -1

    @property
    def version(self) -> int:
        """The greatest version among what is shown."""
        return max((group.rank.version for group in (self.content, self.offer) if group), default=0)

    @property
    def attributes(self) -> Attributes:
        """Attributes of the content, and over them the volatile ones of the offer."""
        content = self.content.attributes if self.content else {}
        return {**content, **self.offer.attributes} if self.offer and self.offer.attributes else content

    @property
    def is_in_stock(self) -> bool:
        """As said; else stock absent or > 0."""
        if self.offer is None:
            return True
        if self.offer.in_stock is not None:
            return self.offer.in_stock
        return self.offer.stock is None or self.offer.stock > 0

    @property
    def is_tombstone(self) -> bool:
        """Whether nothing but a deletion is known of the product."""
        return self.deleted is not None and self.content is None and self.offer is None

    def to_bytes(self) -> bytes:
        """MessagePack; equal states give equal bytes."""
        return _ENCODER.encode(self)

    def live_bytes(self) -> bytes:
        """What is shown, or would be: content and offer; empty where there is neither."""
        return _ENCODER.encode((self.content, self.offer)) if self.content or self.offer else b""

    def tombstone_bytes(self) -> bytes:
        """The deletion, however it came here; empty where there is none."""
        return _ENCODER.encode(self.deleted) if self.deleted else b""


_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
decode_state = msgspec.msgpack.Decoder(ProductState).decode
"""The state that :meth:`ProductState.to_bytes` wrote."""

UNKNOWN = ProductState()
"""A product of which no record was seen."""


def group_id(raw_key: bytes, state: ProductState) -> bytes:
    """Equal for products of a tenant that show the same; a product without a ``dup_group`` is its own."""
    group = state.content.dup_group if state.content else b""
    return blake2b(b"g" + group if group else b"k" + raw_key, digest_size=GROUP_BYTES).digest()


def fold(state: ProductState, record: IndexLogRecord) -> tuple[ProductState, Decision]:
    """The state after one record, and why; an ignored record returns the state itself."""
    decision = decide(state.ranks, record.ranks)
    if decision.ignored is not None:
        return state, decision
    content, offer = (state.content, state.offer)
    if decision.take_content:
        assert record.content is not None
        content = replace(record.content, views=tuple(replace(view, vector=b"") for view in distinct_views(record)))
    return (
        ProductState(
            content=content if decision.after.content is not None else None,
            offer=(record.offer if decision.take_offer else offer) if decision.after.offer is not None else None,
            deleted=record.deleted if decision.take_deleted else state.deleted,
            deleted_at_ms=record.source.appended_at if decision.take_deleted else state.deleted_at_ms,
        ),
        decision,
    )


def distinct_views(record: IndexLogRecord) -> list[IndexedView]:
    """The record's views in order, the first of each view hash."""
    if record.content is None:
        return []
    return list({view.view_hash: view for view in reversed(record.content.views)}.values())[::-1]
