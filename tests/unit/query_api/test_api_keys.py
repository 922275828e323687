"""Keys: 256 random bits, of which a hash rests; created if absent, revoked beside, read again every few seconds."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from query_api import following
from query_api.access import api_keys
from query_api.access.api_keys import ApiKey, KeyStore, NewKey, Revocation, digest_of, id_within, is_the_key
from query_api.access.key_ring import KeyRing
from schemas.errors import InvalidProduct, InvalidQuery, NotFound, StorageError, Unauthorized
from topics.store import FileStore

NOW_US = 1_795_000_000_000_000


def new(name: str = "shop-page", **over: object) -> NewKey:
    given: dict[str, object] = {"tenant": "shop", "scopes": ["search"], "created_at_us": NOW_US, **over}
    return api_keys.new_key(name, **given)  # type: ignore[arg-type]


class FailingStore(FileStore):
    """A file store that can be away."""

    is_away = False

    def list(self, prefix: str = "") -> list[str]:
        if self.is_away:
            raise OSError("away")
        return super().list(prefix)


@pytest.fixture
def files(tmp_path: Path) -> FailingStore:
    return FailingStore(tmp_path)


@pytest.fixture
def store(files: FailingStore) -> KeyStore:
    return KeyStore(files)


def ring_of(store: KeyStore) -> KeyRing:
    ring = KeyRing(store)
    ring.refresh()
    return ring


class TestOneKey:
    def test_its_text_names_its_id_and_holds_256_bits(self) -> None:
        made = new()
        prefix, key_id, secret = made.text.split("_", 2)
        assert (prefix, key_id) == ("fl", made.key.id)
        assert len(secret) * 6 >= 256
        assert id_within(made.text) == made.key.id

    def test_no_two_are_alike(self) -> None:
        made = [new() for _ in range(50)]
        assert len({each.text for each in made}) == len({each.key.id for each in made}) == 50

    @pytest.mark.parametrize(
        "text",
        ["", "fl_", "x", "fl_0123456789ab_", "fl_0123456789AB_" + "a" * 43, "fl_0123456789ab_" + "é" * 43, "a\udcff"],
    )
    def test_other_texts_have_no_id(self, text: str) -> None:
        assert id_within(text) is None

    def test_only_the_whole_text_is_the_key(self) -> None:
        one, other = new(), new()
        assert is_the_key(one.text, one.key)
        assert not is_the_key(one.text, other.key)
        assert not is_the_key(one.text, None)
        assert not is_the_key(one.text[:-1] + ("A" if one.text[-1] != "A" else "B"), one.key)
        # The secret of one under the id of the other.
        mixed = f"fl_{other.key.id}_{one.text.split('_', 2)[2]}"
        assert not is_the_key(mixed, other.key)

    def test_nobody_is_let_in_by_the_hash_for_unknown_keys(self) -> None:
        assert digest_of("anything") != "0" * 64

    @pytest.mark.parametrize(
        "over",
        [
            {"scopes": []},
            {"scopes": ["root"]},
            {"name": ""},
            {"name": "n" * 101},
            {"rate_per_s": 0.0},
            {"rate_per_s": float("nan")},
            {"quota_per_day": 0},
            {"expires_at_us": NOW_US},
            {"tenant": "*"},
            {"tenant": "*", "scopes": ["search", "publish"]},
        ],
    )
    def test_what_is_refused(self, over: dict[str, object]) -> None:
        with pytest.raises(InvalidQuery):
            new(**over)

    def test_a_tenant_has_to_be_one(self) -> None:
        with pytest.raises(InvalidProduct, match="tenant"):
            new(tenant="Shop!")

    def test_an_operators_key_is_of_every_tenant(self) -> None:
        assert new(tenant="*", scopes=["admin", "search"]).key.scopes == ("search", "admin")


class TestAtRest:
    def test_the_secret_is_nowhere(self, files: FailingStore, store: KeyStore) -> None:
        made = new()
        store.create(made)
        at_rest = b"".join(files.get(name) for name in files.list())
        assert made.text.encode() not in at_rest
        assert made.text.split("_", 2)[2].encode() not in at_rest
        assert store.read(made.key.id) == made.key

    def test_a_key_is_created_once(self, store: KeyStore) -> None:
        made = new()
        store.create(made)
        with pytest.raises(StorageError, match="taken"):
            store.create(made)

    def test_revoking_leaves_the_key_and_says_when(self, store: KeyStore) -> None:
        made = new()
        store.create(made)
        assert store.revoke(made.key.id, Revocation(NOW_US, "ann"))
        assert not store.revoke(made.key.id, Revocation(NOW_US + 1, "bob")), "the first one stands"
        assert store.revocation(made.key.id) == Revocation(NOW_US, "ann")
        assert store.ids() == (frozenset({made.key.id}), frozenset({made.key.id}))

    @pytest.mark.parametrize("key_id", ["0123456789ab", "", "../x", "*"])
    def test_what_is_not_there_cannot_be_revoked(self, store: KeyStore, key_id: str) -> None:
        with pytest.raises(NotFound):
            store.revoke(key_id, Revocation(NOW_US))
        assert store.ids() == (frozenset(), frozenset())


class TestRing:
    def test_it_is_empty_until_the_first_key(self, store: KeyStore) -> None:
        assert KeyRing().is_empty
        ring = ring_of(store)
        assert ring.is_empty
        store.create(new())
        ring.refresh()
        assert not ring.is_empty

    def test_revoking_the_last_key_opens_nothing(self, store: KeyStore) -> None:
        made = new()
        store.create(made)
        ring = ring_of(store)
        store.revoke(made.key.id, Revocation(NOW_US))
        ring.refresh()
        for again in (ring, ring_of(store)):
            assert not again.is_empty
            with pytest.raises(Unauthorized):
                again.authenticated(f"Bearer {made.text}", NOW_US)

    def test_a_key_that_vanishes_from_the_store_opens_nothing_here(self, files: FailingStore, store: KeyStore) -> None:
        made = new()
        store.create(made)
        ring = ring_of(store)
        files.delete(f"keys/{made.key.id}.json")
        ring.refresh()
        assert not ring.is_empty
        assert not ring.is_valid(made.key.id, NOW_US)

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
    def test_a_key_is_known_by_its_text(self, store: KeyStore, scheme: str) -> None:
        made = new()
        store.create(made)
        assert ring_of(store).authenticated(f"{scheme} {made.text}", NOW_US) == made.key

    def test_every_refusal_of_a_key_says_the_same(self, store: KeyStore) -> None:
        valid, revoked = new(), new()
        expired = new(expires_at_us=NOW_US + 5)
        for made in (valid, revoked, expired):
            store.create(made)
        store.revoke(revoked.key.id, Revocation(NOW_US))
        ring = ring_of(store)
        wrong = f"fl_{valid.key.id}_{'A' * 43}"
        said = set()
        for text in (new().text, wrong, revoked.text, expired.text, "nonsense", "", "\udcff"):
            with pytest.raises(Unauthorized) as raised:
                ring.authenticated(f"Bearer {text}", NOW_US + 5)
            said.add(raised.value.message)
        assert len(said) == 1
        assert not any(made.key.id in "".join(said) for made in (valid, revoked, expired))

    @pytest.mark.parametrize("header", [None, "", "Basic YTpi", "fl_0123456789ab_x"])
    def test_no_key_is_told_how_to_send_one(self, store: KeyStore, header: str | None) -> None:
        with pytest.raises(Unauthorized, match="Authorization: Bearer"):
            ring_of(store).authenticated(header, NOW_US)

    def test_a_key_is_valid_until_it_expires(self, store: KeyStore) -> None:
        made = new(expires_at_us=NOW_US + 5)
        store.create(made)
        ring = ring_of(store)
        assert ring.authenticated(f"Bearer {made.text}", NOW_US + 4) == made.key
        assert ring.is_valid(made.key.id, NOW_US + 4)
        assert not ring.is_valid(made.key.id, NOW_US + 5)
        assert not ring.is_valid("nobody", NOW_US)

    @pytest.mark.parametrize("damage", [b"", b"{}", b"\xff", b'{"id": "x"}'])
    def test_a_damaged_key_lets_nobody_in_and_opens_nothing(
        self, files: FailingStore, store: KeyStore, damage: bytes
    ) -> None:
        broken, whole = new(), new()
        store.create(broken)
        store.create(whole)
        files.put(f"keys/{broken.key.id}.json", damage)
        with capture_logs() as logs:
            ring = ring_of(store)
        assert [entry["key"] for entry in logs if entry["event"] == "key ignored"] == [broken.key.id]
        assert ring.is_valid(whole.key.id, NOW_US)
        assert not ring.is_valid(broken.key.id, NOW_US)

    def test_a_key_under_the_name_of_another_lets_nobody_in(self, files: FailingStore, store: KeyStore) -> None:
        one = new()
        store.create(one)
        files.put("keys/0123456789ab.json", files.get(f"keys/{one.key.id}.json"))
        with capture_logs():
            assert not ring_of(store).is_valid("0123456789ab", NOW_US)

    def test_while_the_store_is_away_what_was_known_stays(self, files: FailingStore, store: KeyStore) -> None:
        made = new()
        store.create(made)
        ring = ring_of(store)
        files.is_away = True
        with pytest.raises(OSError, match="away"):
            ring.refresh()
        assert ring.is_valid(made.key.id, NOW_US)
        assert not ring.is_empty

    def test_keys_that_come_and_go_are_on_record(self, store: KeyStore) -> None:
        made = new(created_by="ann")
        store.create(made)
        with capture_logs() as logs:
            ring = ring_of(store)
            ring.refresh()
            store.revoke(made.key.id, Revocation(NOW_US))
            ring.refresh()
        told = [(entry["event"], entry["action"], entry["key"]) for entry in logs]
        assert told == [("audit", "key-known", made.key.id), ("audit", "key-gone", made.key.id)]
        assert made.text not in str(logs)
        assert made.key.digest not in str(logs)


class Refreshed(KeyRing):
    """Counts how often it was asked to refresh, fails at first, and says when it was asked often enough."""

    def __init__(self, failures: list[Exception]) -> None:
        super().__init__()
        self.failures = failures
        self.enough = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def refresh(self) -> None:
        if self.failures:
            raise self.failures.pop()
        self._loop.call_soon_threadsafe(self.enough.set)


async def test_following_outlives_every_failure() -> None:
    ring = Refreshed([OSError("away"), StorageError("odd"), RuntimeError("unforeseen")])
    with capture_logs() as logs:
        task = asyncio.create_task(following.follow("keys", ring.refresh, 0))
        await ring.enough.wait()
        task.cancel()
    assert len(logs) == 3


def test_keys_of_other_versions_of_this_program_can_be_read() -> None:
    import msgspec

    raw = msgspec.json.encode({**msgspec.to_builtins(new().key), "colour": "red"})
    assert msgspec.json.decode(raw, type=ApiKey).tenant == "shop"
