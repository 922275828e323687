"""API keys: what one is, how its secret is kept, and where. Pure but for :class:`KeyStore`.

A key reads ``fl_<id>_<secret>``. Only a hash of it rests in the store. A secret has 256 random bits, so nobody can
guess it from its hash however fast the hash is: a slow one, made for passwords, would only cost every request its time.
"""

import hmac
import re
import secrets
from collections.abc import Iterable
from hashlib import blake2b
from typing import Literal, NamedTuple, get_args

import msgspec

from schemas.errors import InvalidQuery, NotFound, StorageError
from schemas.identity import check_tenant
from topics.store import ObjectStore

Scope = Literal["search", "feedback", "publish", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
EVERY_TENANT = "*"
FOLDER = "keys"

_FORM = re.compile(r"fl_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_ID = re.compile(r"[0-9a-f]{12}")
_NAME_CHARS_MAX = 100


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key as it rests in the store; it never changes, and is revoked by a second object beside it.

    Attributes:
        id: 12 hexadecimal characters, part of the key itself; no secret.
        digest: hexadecimal BLAKE2b-256 of the whole key.
        tenant: the one tenant it sees, or ``*`` for an operator's key, which may name any.
        expires_at_us: microseconds since 1970 from which it is not valid any more; None: never.
        rate_per_s: requests a second; None: as many as there are.
        quota_per_day: requests in a day of UTC; None: as many as there are.
    """

    id: str
    name: str
    digest: str
    tenant: str
    scopes: tuple[Scope, ...]
    created_at_us: int
    created_by: str = ""
    expires_at_us: int | None = None
    rate_per_s: float | None = None
    quota_per_day: int | None = None

    def is_expired(self, now_us: int) -> bool:
        """Whether its time is over."""
        return self.expires_at_us is not None and now_us >= self.expires_at_us


class Revocation(msgspec.Struct, frozen=True):
    """When a key was revoked, and by whom."""

    revoked_at_us: int
    revoked_by: str = ""


class NewKey(NamedTuple):
    """A key just made. ``text`` is what its owner sends; it cannot be had a second time."""

    key: ApiKey
    text: str


def new_key(
    name: str,
    *,
    tenant: str,
    scopes: Iterable[Scope],
    created_at_us: int,
    created_by: str = "",
    expires_at_us: int | None = None,
    rate_per_s: float | None = None,
    quota_per_day: int | None = None,
) -> NewKey:
    """A key of 256 random bits.

    Raises:
        InvalidQuery: no scope, a limit that is not above 0, a time that has passed, or a key of every tenant that is
            not an admin's. InvalidProduct: ``invalid-tenant``.
    """
    wanted = set(scopes)
    if not wanted or not wanted <= set(SCOPES):
        raise InvalidQuery(f"a key has one or more of the scopes {', '.join(SCOPES)}")
    if tenant != EVERY_TENANT:
        check_tenant(tenant)
    elif "admin" not in wanted:
        raise InvalidQuery("a key of every tenant is an operator's: give it the scope admin, or one tenant")
    if not 1 <= len(name) <= _NAME_CHARS_MAX:
        raise InvalidQuery(f"a key's name has 1 to {_NAME_CHARS_MAX} characters")
    if any(limit is not None and not limit > 0 for limit in (rate_per_s, quota_per_day)):
        raise InvalidQuery("rate and quota are greater than 0; leave them out for none")
    if expires_at_us is not None and expires_at_us <= created_at_us:
        raise InvalidQuery("the key would be expired at once")
    key_id = secrets.token_hex(6)
    text = f"fl_{key_id}_{secrets.token_urlsafe(32)}"
    key = ApiKey(
        id=key_id,
        name=name,
        digest=digest_of(text),
        tenant=tenant,
        scopes=tuple(scope for scope in SCOPES if scope in wanted),
        created_at_us=created_at_us,
        created_by=created_by,
        expires_at_us=expires_at_us,
        rate_per_s=rate_per_s,
        quota_per_day=quota_per_day,
    )
    return NewKey(key, text)


def id_within(text: str) -> str | None:
    """The id within a key; None for a text that is none."""
    found = _FORM.fullmatch(text)
    return found[1] if found else None


def digest_of(text: str) -> str:
    """What rests of a key: the hash of all of it, so that a secret is worth nothing under another id."""
    return blake2b(text.encode(), digest_size=32, person=b"freshlens-apikey").hexdigest()


def is_the_key(text: str, key: ApiKey | None) -> bool:
    """Whether the text is this very key; in the same time for an unknown one (None)."""
    return hmac.compare_digest(digest_of(text), key.digest if key else _NOBODYS) and key is not None


_NOBODYS = "0" * 64


class KeyStore:
    """Keys in the object store: ``keys/ID.json``, and ``keys/ID.revoked.json`` once it is revoked.

    Both are created if absent and never changed: what was said of a key stays, as a record of who did it when. Calls
    may raise OSError and StoreUnavailable.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def create(self, new: NewKey) -> ApiKey:
        """Keep a new key; raises StorageError in the one case in 2^48 that its id is taken."""
        if not self._store.put_if_absent(f"{FOLDER}/{new.key.id}.json", msgspec.json.encode(new.key)):
            raise StorageError(f"the key id {new.key.id} is taken; create the key again")
        return new.key

    def revoke(self, key_id: str, revocation: Revocation) -> bool:
        """Revoke for ever; False if it was revoked before. Raises NotFound."""
        if not _ID.fullmatch(key_id) or not self._store.exists(f"{FOLDER}/{key_id}.json"):
            raise NotFound(f"there is no key {key_id[:80]!r}; `freshlens keys list` shows them")
        return self._store.put_if_absent(f"{FOLDER}/{key_id}.revoked.json", msgspec.json.encode(revocation))

    def ids(self) -> tuple[frozenset[str], frozenset[str]]:
        """The ids of all keys ever made, and of those revoked."""
        names = [key.removeprefix(f"{FOLDER}/") for key in self._store.list(FOLDER)]
        revoked = {name.removesuffix(".revoked.json") for name in names if name.endswith(".revoked.json")}
        made = {name.removesuffix(".json") for name in names if not name.endswith(".revoked.json")}
        return frozenset(made | revoked), frozenset(revoked)

    def read(self, key_id: str) -> ApiKey:
        """One key.

        Raises:
            StorageError: its object is not what we wrote; revoke it and create another.
        """
        try:
            key = msgspec.json.decode(self._store.get(f"{FOLDER}/{key_id}.json"), type=ApiKey)
        except (msgspec.DecodeError, FileNotFoundError, ValueError) as error:
            raise StorageError(f"key {key_id} cannot be read: {error}") from error
        if key.id != key_id:
            raise StorageError(f"key {key_id} calls itself {key.id}")
        return key

    def revocation(self, key_id: str) -> Revocation | None:
        """When it was revoked, if it was."""
        try:
            return msgspec.json.decode(self._store.get(f"{FOLDER}/{key_id}.revoked.json"), type=Revocation)
        except FileNotFoundError:
            return None
