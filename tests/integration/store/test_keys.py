"""API keys in a store of each kind: made, known, revoked, and the last one gone opens nothing."""

import pytest

from query_api.access.api_keys import KeyStore, Revocation, new_key
from query_api.access.key_ring import KeyRing
from schemas.errors import NotFound, StorageError, Unauthorized
from topics.store import ObjectStore


def test_the_life_of_a_key(store: ObjectStore) -> None:
    keys = KeyStore(store)
    ring = KeyRing(keys)
    ring.refresh()
    assert ring.is_empty
    made = new_key("page", tenant="shop", scopes=["search"], created_at_us=1)
    keys.create(made)
    with pytest.raises(StorageError, match="taken"):
        keys.create(made)
    ring.refresh()
    assert ring.authenticated(f"Bearer {made.text}", 2) == made.key
    assert keys.revoke(made.key.id, Revocation(3, "ann"))
    assert not keys.revoke(made.key.id, Revocation(4, "bob"))
    assert keys.revocation(made.key.id) == Revocation(3, "ann")
    ring.refresh()
    assert not ring.is_empty
    with pytest.raises(Unauthorized):
        ring.authenticated(f"Bearer {made.text}", 5)
    with pytest.raises(NotFound):
        keys.revoke("0123456789ab", Revocation(6))
