"""Who a product is (HOLES 22): no two products share a key, and every key finds its way back."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.errors import InvalidProduct, KeyMismatch
from schemas.identity import check_record_key, check_tenant, key_from_bytes, murmur2, partition_of, product_key

tenants = st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True)
product_ids = st.text(st.sampled_from("ab/-0é\u0301e %2F\\"), min_size=1, max_size=8)
anything = st.text(st.characters(), max_size=12)


@given(tenants, product_ids, tenants, product_ids)
@example("a", "b/c", "a-b", "c")
def test_two_products_never_share_a_key(tenant: str, product_id: str, other_tenant: str, other_id: str) -> None:
    one, other = product_key(tenant, product_id), product_key(other_tenant, other_id)
    assert (one.to_bytes() == other.to_bytes()) == ((tenant, product_id) == (other_tenant, other_id))


@given(tenants, product_ids)
def test_a_key_is_read_back(tenant: str, product_id: str) -> None:
    key = product_key(tenant, product_id)
    assert key_from_bytes(key.to_bytes()) == key
    check_record_key(key.to_bytes(), key)
    check_record_key(None, key)


@given(tenants, product_ids, st.binary(max_size=20))
def test_another_record_key_is_a_mismatch(tenant: str, product_id: str, raw: bytes) -> None:
    key = product_key(tenant, product_id)
    if raw != key.to_bytes():
        with pytest.raises(KeyMismatch):
            check_record_key(raw, key)


@given(anything, anything)
def test_outside_values_make_a_key_that_reads_back_or_are_refused(tenant: str, product_id: str) -> None:
    try:
        key = product_key(tenant, product_id)
    except InvalidProduct:
        return
    assert key_from_bytes(key.to_bytes()) == key


@given(st.binary(max_size=20))
def test_a_record_key_is_read_or_refused(raw: bytes) -> None:
    try:
        key = key_from_bytes(raw)
    except InvalidProduct:
        return
    assert key.to_bytes() == raw


def test_a_slash_in_the_tenant_cannot_reach_into_another_tenant() -> None:
    with pytest.raises(InvalidProduct, match="a/b"):
        product_key("a/b", "c")
    assert product_key("a", "b/c").to_bytes() == b"a/b/c"


@pytest.mark.parametrize("tenant", ["", "-a", "A", "a_b", "a.b", "ä", "a" * 64, "a\n", " a"])
def test_refused_tenants(tenant: str) -> None:
    with pytest.raises(InvalidProduct) as refused:
        check_tenant(tenant)
    assert refused.value.code == "invalid-tenant"


@pytest.mark.parametrize("product_id", ["", "a" * 513, "é" * 257, "a\x00", "a\nb", "\x7f", "\x85", "\ud800"])
def test_refused_product_ids(product_id: str) -> None:
    with pytest.raises(InvalidProduct) as refused:
        product_key("a", product_id)
    assert refused.value.code == "invalid-product-id"


@pytest.mark.parametrize("product_id", ["a" * 512, "é" * 256, "/", "//", ".", "日本語", "a b", "\u202e"])
def test_allowed_product_ids(product_id: str) -> None:
    assert product_key("a", product_id).product_id == product_id


def test_composed_and_decomposed_letters_are_two_products() -> None:
    assert product_key("a", "é") != product_key("a", "e\u0301")


@pytest.mark.parametrize(
    ("text", "signed"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_is_kafkas_own(text: str, signed: int) -> None:
    """The vectors of Kafka's UtilsTest.testMurmur2; toPositive clears the sign."""
    assert murmur2(text.encode()) == signed & 0x7FFFFFFF


@given(tenants, product_ids, st.integers(1, 1024))
def test_a_partition_exists(tenant: str, product_id: str, partitions: int) -> None:
    assert 0 <= partition_of(product_key(tenant, product_id), partitions) < partitions
