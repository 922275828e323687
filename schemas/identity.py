"""Who a product is: (tenant, product_id), compared as bytes, and where its records go."""

import re
from typing import NamedTuple

from schemas.errors import InvalidProduct, KeyMismatch

_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
PRODUCT_ID_BYTES_MAX = 512


class ProductKey(NamedTuple):
    """The identity of a product. Build one from outside values with :func:`product_key`."""

    tenant: str
    product_id: str

    def __str__(self) -> str:
        return f"{self.tenant}/{self.product_id}"

    def to_bytes(self) -> bytes:
        """``tenant/product_id`` in UTF-8: unambiguous, since a tenant has no slash."""
        return f"{self.tenant}/{self.product_id}".encode()


def check_tenant(tenant: str) -> str:
    """Return the tenant, or raise InvalidProduct (``invalid-tenant``)."""
    if not _TENANT.fullmatch(tenant):
        raise InvalidProduct(
            f"tenant {tenant[:80]!r} is not allowed: 1 to 63 of a-z, 0-9 and '-', not starting with '-'",
            code="invalid-tenant",
        )
    return tenant


def product_key(tenant: str, product_id: str) -> ProductKey:
    """The key of outside values.

    Raises:
        InvalidProduct: ``invalid-tenant``; ``invalid-product-id`` unless 1 to 512 bytes without control characters.
    """
    check_tenant(tenant)
    try:
        size = len(product_id.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= PRODUCT_ID_BYTES_MAX or _CONTROL.search(product_id):
        raise InvalidProduct(
            f"product_id {product_id[:80]!r} is not allowed: 1 to {PRODUCT_ID_BYTES_MAX} bytes of UTF-8 without "
            "control characters",
            code="invalid-product-id",
        )
    return ProductKey(tenant, product_id)


def key_from_bytes(raw: bytes) -> ProductKey:
    """The key that :meth:`ProductKey.to_bytes` wrote; raises InvalidProduct for anything else."""
    try:
        tenant, slash, product_id = raw.decode().partition("/")
    except UnicodeDecodeError:
        raise InvalidProduct("a record key is not UTF-8", code="invalid-product-id") from None
    if not slash:
        raise InvalidProduct("a record key has no '/'", code="invalid-product-id")
    return product_key(tenant, product_id)


def check_record_key(raw: bytes | None, key: ProductKey) -> None:
    """The value is the truth; a record key, if there is one, must say the same.

    Raises:
        KeyMismatch: the record key names something else.
    """
    if raw is not None and raw != key.to_bytes():
        raise KeyMismatch(f"the record key {raw[:120]!r} is not {str(key)!r}, which the value names")


def murmur2(key: bytes) -> int:
    """Kafka's own 32-bit hash, as an unsigned 31-bit number.

    Source: org.apache.kafka.common.utils.Utils.murmur2 and toPositive, which Java producers partition by.
    """
    length = len(key)
    m = 0x5BD1E995
    h = (0x9747B28C ^ length) & 0xFFFFFFFF
    for i in range(0, length - length % 4, 4):
        k = int.from_bytes(key[i : i + 4], "little")
        k = (k * m) & 0xFFFFFFFF
        k ^= k >> 24
        k = (k * m) & 0xFFFFFFFF
        h = (h * m) & 0xFFFFFFFF
        h ^= k
    tail = key[length - length % 4 :]
    if tail:
        h ^= int.from_bytes(tail, "little")
        h = (h * m) & 0xFFFFFFFF
    h ^= h >> 13
    h = (h * m) & 0xFFFFFFFF
    h ^= h >> 15
    return h & 0x7FFFFFFF


def partition_of(key: ProductKey, partitions: int) -> int:
    """The partition of ``index-log`` that holds every record of this product, by the layout's own count."""
    return murmur2(key.to_bytes()) % partitions
