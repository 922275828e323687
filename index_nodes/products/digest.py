"""The logical content of a partition as one number (HOLES 24): replicas, compactor and rebuilds agree at equal offsets.

A digest is a sum of hashes, one per product, so that neither order nor files nor graphs matter and a record costs two
hashes. What is live and what is deleted are summed apart, since only a compaction forgets tombstones: those sums are
compared within one generation only.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from index_nodes.products.product import ProductState

_BITS = 128
_MODULUS = 1 << _BITS


@dataclass(frozen=True, slots=True)
class Digest:
    """Sums modulo 2^128 of BLAKE2b-128 over (key, groups of one product)."""

    live: int = 0
    tombstones: int = 0

    def changed(self, key: bytes, before: ProductState, after: ProductState) -> "Digest":
        """The digest once one product has gone from one state to another."""
        return self - digest_of(key, before) + digest_of(key, after)

    def __add__(self, other: "Digest") -> "Digest":
        return Digest((self.live + other.live) % _MODULUS, (self.tombstones + other.tombstones) % _MODULUS)

    def __sub__(self, other: "Digest") -> "Digest":
        return Digest((self.live - other.live) % _MODULUS, (self.tombstones - other.tombstones) % _MODULUS)

    def __str__(self) -> str:
        return f"{self.live:032x}:{self.tombstones:032x}"

    @staticmethod
    def parse(text: str) -> "Digest":
        """The inverse of ``str``; raises ValueError."""
        live, tombstones = text.split(":")
        return Digest(int(live, 16), int(tombstones, 16))


@dataclass(frozen=True, slots=True)
class Mark:
    """The digest of a partition at a next offset."""

    offset: int
    digest: Digest

    def __str__(self) -> str:
        return f"{self.offset}:{self.digest}"

    @staticmethod
    def parse(text: str) -> "Mark":
        """The inverse of ``str``; raises ValueError."""
        offset, _, digest = text.partition(":")
        return Mark(int(offset), Digest.parse(digest))


def digest_of(key: bytes, state: ProductState) -> Digest:
    """What one product adds."""
    alive, dead = state.live_bytes(), state.tombstone_bytes()
    return Digest(_hash(key, alive) if alive else 0, _hash(key, dead) if dead else 0)


def total(digests: Iterable[Digest]) -> Digest:
    """The sum, over partitions or products."""
    summed = Digest()
    for digest in digests:
        summed += digest
    return summed


def _hash(key: bytes, state: bytes) -> int:
    hasher = hashlib.blake2b(key, digest_size=_BITS // 8)
    hasher.update(b"\0" + state)
    return int.from_bytes(hasher.digest(), "little")
