"""Records of index-log that an operator gave up: every reader passes over them (HOLES 18).

Marks live in the store, by the identity of the log, so that nodes, compactor and rebuilds see the same ones.
"""

import msgspec

from schemas.lane import Lane
from schemas.layout import LogId
from topics.store import ObjectStore

_NAMING = str.maketrans("+/", "-_", "=")
"""Topic ids are Base64; in the name of a folder they take the letters that RFC 4648 has for that."""


class VoidMark(msgspec.Struct, frozen=True):
    """Who is passed over, and why."""

    partition: int
    offset: int
    reason: str
    made_at_us: int


class Voids:
    """The marks of one log."""

    def __init__(self, store: ObjectStore, lane: Lane, log_id: LogId) -> None:
        self._store = store
        self._prefix = f"voids/{lane.layout.layout_id}/{lane.name}/{log_id.topic_id.translate(_NAMING)}"

    def has(self, partition: int, offset: int) -> bool:
        """Whether the record was given up; raises OSError, TransientError."""
        return self._store.exists(self._key(partition, offset))

    def add(self, mark: VoidMark) -> bool:
        """Give a record up, for good; False if it was before."""
        return self._store.put_if_absent(self._key(mark.partition, mark.offset), msgspec.json.encode(mark))

    def places(self) -> frozenset[tuple[int, int]]:
        """(partition, offset) of every mark; raises OSError, TransientError."""
        return frozenset((mark.partition, mark.offset) for mark in self.all())

    def all(self) -> list[VoidMark]:
        """Every mark, by partition and offset."""
        return [msgspec.json.decode(self._store.get(key), type=VoidMark) for key in self._store.list(self._prefix)]

    def _key(self, partition: int, offset: int) -> str:
        return f"{self._prefix}/{partition:04d}-{offset:020d}.json"
