"""A bounded memory: the newest of what was put in, and nothing of the rest."""

from collections.abc import Iterator, MutableMapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(MutableMapping[K, V], Generic[K, V]):
    """A mapping of at most ``size_max`` entries; what was set longest ago goes first."""

    def __init__(self, size_max: int, entries: dict[K, V] | None = None) -> None:
        assert size_max >= 1, size_max
        self._max = size_max
        self._entries: dict[K, V] = dict(entries or {})

    def __getitem__(self, key: K) -> V:
        return self._entries[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._entries.pop(key, None)
        self._entries[key] = value
        if len(self._entries) > self._max:
            del self._entries[next(iter(self._entries))]

    def __delitem__(self, key: K) -> None:
        del self._entries[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
