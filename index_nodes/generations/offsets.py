"""How far a shard is, by index-log partition. Every number is a *next* offset."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from schemas.layout import NextOffset

Positions = Mapping[int, NextOffset]
"""index-log partition → next offset."""


@dataclass(frozen=True, slots=True)
class Offsets:
    """``durable`` <= ``applied`` <= ``masked``, and never does one go back.

    Attributes:
        durable: covered by the generation served.
        applied: visible to searches.
        masked: no product that was deleted below is shown, and no older offer; beyond ``applied`` only in skim mode.
    """

    durable: Positions
    applied: Positions
    masked: Positions

    def __post_init__(self) -> None:
        assert self.durable.keys() == self.applied.keys() == self.masked.keys(), self
        assert all(
            0 <= self.durable[partition] <= self.applied[partition] <= self.masked[partition]
            for partition in self.durable
        ), self

    @staticmethod
    def at(next_offsets: Positions) -> "Offsets":
        """A shard that has exactly what its generation has."""
        positions = MappingProxyType(dict(next_offsets))
        return Offsets(positions, positions, positions)

    @property
    def is_skimmed(self) -> bool:
        """Whether content is withheld somewhere."""
        return self.masked != self.applied

    def advanced(self, applied: Positions) -> "Offsets":
        """Applied further in some partitions; asserts that no partition goes back."""
        moved = _moved(self.applied, applied)
        masked = {partition: max(offset, moved[partition]) for partition, offset in self.masked.items()}
        return Offsets(self.durable, MappingProxyType(moved), MappingProxyType(masked))

    def skimmed(self, masked: Positions) -> "Offsets":
        """Masked further in some partitions, and applied nowhere; asserts that no partition goes back."""
        return Offsets(self.durable, self.applied, MappingProxyType(_moved(self.masked, masked)))

    def covers(self, wanted: Mapping[int, int]) -> bool:
        """Whether all that is wanted of these partitions is applied; those of other shards are passed over."""
        return _reach(self.applied, wanted)

    def masks(self, wanted: Mapping[int, int]) -> bool:
        """As :meth:`covers`, of what is masked."""
        return _reach(self.masked, wanted)


def _reach(positions: Positions, wanted: Mapping[int, int]) -> bool:
    return all(positions[partition] >= offset for partition, offset in wanted.items() if partition in positions)


def _moved(positions: Positions, to: Positions) -> dict[int, NextOffset]:
    moved = {**positions, **to}
    assert moved.keys() == positions.keys(), f"a partition of another shard: {sorted(moved)}"
    assert all(moved[partition] >= was for partition, was in positions.items()), (positions, to)
    return moved
