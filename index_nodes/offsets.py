"""How far a shard is, by index-log partition. Every number is a *next* offset."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from schemas.layout import NextOffset

Positions = Mapping[int, NextOffset]
"""index-log partition → next offset."""


@dataclass(frozen=True, slots=True)
class Offsets:
    """``applied``: visible to searches. ``durable``: covered by the generation served. Never does one go back."""

    durable: Positions
    applied: Positions

    def __post_init__(self) -> None:
        assert self.durable.keys() == self.applied.keys(), self
        assert all(0 <= self.durable[partition] <= self.applied[partition] for partition in self.durable), self

    @staticmethod
    def at(next_offsets: Positions) -> "Offsets":
        """A shard that has exactly what its generation has."""
        positions = MappingProxyType(dict(next_offsets))
        return Offsets(positions, positions)

    def advanced(self, applied: Positions) -> "Offsets":
        """Further in some partitions; asserts that no partition goes back."""
        moved = {**self.applied, **applied}
        assert moved.keys() == self.applied.keys(), f"a partition of another shard: {sorted(moved)}"
        assert all(moved[partition] >= was for partition, was in self.applied.items()), (self.applied, applied)
        return Offsets(self.durable, MappingProxyType(moved))

    def covers(self, wanted: Mapping[int, int]) -> bool:
        """Whether all that is wanted of these partitions is applied; those of other shards are passed over."""
        return all(
            self.applied[partition] >= offset for partition, offset in wanted.items() if partition in self.applied
        )
