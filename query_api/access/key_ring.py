"""The keys that an API process knows: read from the store every few seconds, asked on every request."""

import structlog

from query_api.access.api_keys import ApiKey, KeyStore, id_within, is_the_key
from schemas.errors import StorageError, Unauthorized

log = structlog.get_logger()

_MISSING = "send Authorization: Bearer KEY; `freshlens keys create` makes one"
_REFUSED = "this key is not valid"
"""The same words for an unknown id, a wrong secret, a revoked and an expired key: no answer tells ids apart."""


class KeyRing:
    """Who may ask. Without a store, and until the first key is made, there are no keys at all."""

    def __init__(self, store: KeyStore | None = None) -> None:
        self._store = store
        self._valid: dict[str, ApiKey] = {}
        self._ever: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether no key was ever made. One that was revoked counts: taking the last key away opens nothing."""
        return not self._ever

    def authenticated(self, authorization: str | None, now_us: int) -> ApiKey:
        """The key of an ``Authorization`` header.

        Raises:
            Unauthorized: there is none, or it is not valid.
        """
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized(_MISSING)
        key_id = id_within(text.strip())
        known = self._valid.get(key_id) if key_id else None
        if key_id is None or not is_the_key(text.strip(), known) or known is None or known.is_expired(now_us):
            raise Unauthorized(_REFUSED)
        return known

    def is_valid(self, key_id: str, now_us: int) -> bool:
        """Whether a key that was valid still is: for what goes on after its first answer."""
        known = self._valid.get(key_id)
        return known is not None and not known.is_expired(now_us)

    def refresh(self) -> None:
        """Read what changed; blocks. Keys never change, so that only new ones are read.

        Raises:
            OSError, TransientError: the store does not answer; what was known stays.
        """
        if self._store is None:
            return
        ever, revoked = self._store.ids()
        valid = {key_id: key for key_id, key in self._valid.items() if key_id in ever - revoked}
        for key_id in ever - revoked - valid.keys():
            try:
                valid[key_id] = self._store.read(key_id)
            except StorageError as error:
                log.error("key ignored", key=key_id, code=error.code, error=error.message)
        self._tell(valid)
        # One after the other, the stricter first: at no moment is anybody let in who was not before.
        self._ever = ever | self._ever
        self._valid = valid

    def _tell(self, valid: dict[str, ApiKey]) -> None:
        for key_id in valid.keys() - self._valid.keys():
            key = valid[key_id]
            log.info("audit", action="key-known", key=key_id, tenant=key.tenant, scopes=key.scopes, by=key.created_by)
        for key_id in self._valid.keys() - valid.keys():
            log.info("audit", action="key-gone", key=key_id)
