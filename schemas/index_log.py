"""Records of index-log: the truth from which every index is folded."""

import msgspec

from schemas.embeddings import Space, from_fp16
from schemas.errors import InvalidRecord, LogRecordUnreadable, UnsupportedSchema
from schemas.events import Attributes, Source
from schemas.framing import INDEX_LOG
from schemas.identity import ProductKey, partition_of, product_key
from schemas.join import Rank, Ranks
from schemas.layout import Layout

VIEWS_MAX = 16
"""Views of one product; further ones are reported and left out. Search over-fetches by this factor at most."""


def _nothing() -> None:
    return None


class IndexedView(msgspec.Struct, frozen=True, omit_defaults=True):
    """One view with its vector: ``dim`` little-endian float16 of unit norm.

    ``kind``: image, frame, text or vector; ``timestamp_ms``: of a frame, where in its video it lies; ``flags``: what
    the quality gate found.
    """

    view_hash: bytes
    kind: str
    vector: bytes
    # Digests cover a state's bytes. The first three were always written, and a default from a function still is; what
    # came with version 2 is left out where it says nothing, so that the state of an old record has its old bytes.
    content_hash: bytes | None = msgspec.field(default_factory=_nothing)
    phash: bytes | None = msgspec.field(default_factory=_nothing)
    uri: str | None = msgspec.field(default_factory=_nothing)
    timestamp_ms: int | None = None
    flags: tuple[str, ...] = ()


class IndexedContent(msgspec.Struct, frozen=True, omit_defaults=True):
    """The content group, resolved. ``agreement``: how well picture and text agree, -1 to 1; None: not looked at."""

    rank: Rank
    space: str
    title: str | None
    description: str | None
    attributes: Attributes
    views: tuple[IndexedView, ...]
    dup_group: bytes
    agreement: float | None = None


class IndexedOffer(msgspec.Struct, frozen=True):
    """The offer group, resolved."""

    rank: Rank
    price: float | None
    currency: str | None
    stock: int | None
    in_stock: bool | None
    attributes: Attributes


class IndexedDelete(msgspec.Struct, frozen=True):
    """The deletion, resolved."""

    rank: Rank
    reason: str | None


class IndexLogRecord(msgspec.Struct, frozen=True):
    """What one event means for the index: any of the three groups."""

    tenant: str
    product_id: str
    source: Source
    content: IndexedContent | None = None
    offer: IndexedOffer | None = None
    deleted: IndexedDelete | None = None

    @property
    def key(self) -> ProductKey:
        return ProductKey(self.tenant, self.product_id)

    @property
    def ranks(self) -> Ranks:
        """The ranks of the groups that are there; what :func:`schemas.join.decide` joins."""
        return Ranks(
            self.content.rank if self.content else None,
            self.offer.rank if self.offer else None,
            self.deleted.rank if self.deleted else None,
        )


class Void(msgspec.Struct, frozen=True):
    """A record of index-log that means nothing to any reader; counted and listed, never applied."""

    code: str
    reason: str


def read(raw: bytes | None, *, partition: int, layout: Layout, space: Space) -> IndexLogRecord | Void:
    """Decode one record of index-log: the single predicate by which every reader agrees what is void (HOLES 18).

    Args:
        raw: the record's value.
        partition: the partition it was read from; checked against the layout's own hash of the key.
        layout: how this lane is divided.
        space: what this lane's vectors are; every vector is checked against it.

    Raises:
        LogRecordUnreadable: framed with an unknown fingerprint, so written by a newer program. Stop applying until
            this process is upgraded; going on would lose the record for ever.
    """
    if raw is None or not INDEX_LOG.is_framed(raw):
        return Void("undecodable-record", "no single-object header")
    try:
        record = INDEX_LOG.decode(raw, IndexLogRecord)
        _check(record, partition, layout, space)
    except UnsupportedSchema as error:
        raise LogRecordUnreadable(f"index-log partition {partition}: {error}") from error
    except InvalidRecord as error:
        return Void(error.code, error.message)
    return record


def _check(record: IndexLogRecord, partition: int, layout: Layout, space: Space) -> None:
    key = product_key(record.tenant, record.product_id)
    due = partition_of(key, layout.partitions)
    if partition != due:
        raise InvalidRecord(f"{key} belongs to partition {due}, not {partition}")
    if record.content is None:
        return
    if record.content.space != space.name:
        raise InvalidRecord(f"{key} is of space {record.content.space!r}, this lane holds {space.name!r}")
    if len(record.content.views) > VIEWS_MAX:
        raise InvalidRecord(f"{key} has {len(record.content.views)} views, at most {VIEWS_MAX} are allowed")
    for view in record.content.views:
        from_fp16(view.vector, space.dim)
