"""Slots by key: hashes find, whole keys decide (HOLES 22)."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from index_nodes.rows.arrays import Rows
from schemas.hashing import key_hash
from schemas.identity import ProductKey

HashOf = Callable[[bytes], int]
"""64-bit look-up hash of a key."""


class KeyArray(Protocol):
    """The keys of a generation by slot."""

    def __getitem__(self, slot: int) -> bytes: ...


class MainKeys:
    """Sorted look-up hashes with a permutation, verified against the stored keys (HOLES 22)."""

    def __init__(self, hashes: npt.NDArray[np.uint64], slots: Rows, keys: KeyArray, hash_of: HashOf = key_hash) -> None:
        self._hashes, self._slots, self._keys, self._hash_of = hashes, slots, keys, hash_of

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, key: bytes) -> int | None:
        """The slot of the key; any number of keys may share a hash."""
        wanted = np.uint64(self._hash_of(key))
        place = int(np.searchsorted(self._hashes, wanted))
        while place < len(self._hashes) and self._hashes[place] == wanted:
            slot = int(self._slots[place])
            if self.raw(slot) == key:
                return slot
            place += 1
        return None

    def raw(self, slot: int) -> bytes:
        return self._keys[slot]


class SlotKeys:
    """Keys by slot: those of the generation, then new ones; verified by comparison of whole keys."""

    def __init__(self, main: MainKeys) -> None:
        self._main = main
        self._new: list[bytes] = []
        self._slots: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._main) + len(self._new)

    def find(self, key: bytes) -> int | None:
        """The slot of a key; None if it was never seen."""
        slot = self._slots.get(key)
        return slot if slot is not None else self._main.find(key)

    def add(self, key: bytes) -> int:
        """The slot of a key that was never seen before."""
        slot = len(self)
        self._new.append(key)
        self._slots[key] = slot
        return slot

    def raw(self, slot: int) -> bytes:
        known = len(self._main)
        return self._main.raw(slot) if slot < known else self._new[slot - known]

    def key(self, slot: int) -> ProductKey:
        tenant, _, product_id = self.raw(slot).decode().partition("/")
        return ProductKey(tenant, product_id)
