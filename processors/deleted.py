"""What a product-deleted event means for the index. Pure."""

from processors.added import DeclarationOf
from schemas.errors import UndecodableRecord
from schemas.events import ProductDeleted, Source
from schemas.framing import PRODUCT_DELETED, SchemaRegistry
from schemas.hashing import group_digest
from schemas.identity import check_record_key, product_key
from schemas.index_log import IndexedDelete, IndexLogRecord
from schemas.join import Rank
from schemas.versions import resolve

REASON_CHARS_MAX = 1_000


def index_record(
    raw_key: bytes | None,
    raw: bytes | None,
    source: Source,
    declaration_of: DeclarationOf,
    registry: SchemaRegistry | None = None,
) -> IndexLogRecord:
    """The record for index-log of one record of product-deleted.

    Raises:
        InvalidRecord: with the code that says why. Dead-letter it.
    """
    if raw is None:
        raise UndecodableRecord("the record has no value")
    event = PRODUCT_DELETED.decode(raw, ProductDeleted, registry)
    key = product_key(event.tenant, event.product_id)
    check_record_key(raw_key, key)
    kind = declaration_of(key.tenant).versions
    version, sequence = resolve(kind, event.version, appended_at_ms=source.appended_at, offset=source.offset)
    reason = event.reason[:REASON_CHARS_MAX] if event.reason is not None else None
    deleted = IndexedDelete(Rank(version, sequence, 0, group_digest({"reason": reason})), reason)
    return IndexLogRecord(key.tenant, key.product_id, source, deleted=deleted)
