"""Product-deleted: the version, and what is refused."""

import pytest

from processors.deleted import index_record
from schemas.errors import InvalidRecord
from schemas.events import ProductDeleted, Source
from schemas.framing import PRODUCT_DELETED
from schemas.tenants import TenantDeclaration

SOURCE = Source("product-deleted", 0, 9, 1_795_000_000_000)


def test_a_delete_without_a_version_takes_the_brokers_time_in_microseconds() -> None:
    raw = PRODUCT_DELETED.encode(ProductDeleted("shop", "1", reason="sold out"))
    record = index_record(b"shop/1", raw, SOURCE, TenantDeclaration)
    assert record.deleted is not None
    assert (record.deleted.rank.version, record.deleted.rank.sequence) == (1_795_000_000_000_000, 9)
    assert record.deleted.reason == "sold out"
    assert record.content is None
    assert record.offer is None


@pytest.mark.parametrize(
    ("key", "raw", "code"),
    [
        (b"shop/2", PRODUCT_DELETED.encode(ProductDeleted("shop", "1")), "key-mismatch"),
        (None, PRODUCT_DELETED.encode(ProductDeleted("shop", "1", version=1)), "version-out-of-range"),
        (None, PRODUCT_DELETED.encode(ProductDeleted("a/b", "1")), "invalid-tenant"),
        (None, None, "undecodable-record"),
        (None, b"garbage", "undecodable-record"),
    ],
)
def test_what_is_refused(key: bytes | None, raw: bytes | None, code: str) -> None:
    with pytest.raises(InvalidRecord) as refused:
        index_record(key, raw, SOURCE, TenantDeclaration)
    assert refused.value.code == code
