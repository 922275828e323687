"""How the index is divided: partitions of the log, shards of the nodes, and lanes of embedding spaces."""

from dataclasses import dataclass
from typing import NewType

NextOffset = NewType("NextOffset", int)
"""An offset still to be read: one more than the last one done. Every stored position is of this kind."""


@dataclass(frozen=True, slots=True)
class Layout:
    """(partitions, shards), immutable for the life of an ``index-log``; recorded in every manifest and status."""

    partitions: int = 8
    shards: int = 1

    def __post_init__(self) -> None:
        assert 1 <= self.shards <= self.partitions <= 1024, self

    @property
    def layout_id(self) -> str:
        return f"p{self.partitions}s{self.shards}"

    def partitions_of(self, shard: int) -> tuple[int, ...]:
        """The partitions that a shard serves, ascending."""
        assert 0 <= shard < self.shards, shard
        return tuple(range(shard, self.partitions, self.shards))


@dataclass(frozen=True, slots=True)
class LogId:
    """The identity of a topic's log; offsets mean nothing without it (KIP-516 topic ids)."""

    cluster_id: str
    topic_id: str

    def __str__(self) -> str:
        return f"{self.cluster_id}:{self.topic_id}"

    @staticmethod
    def parse(text: str) -> "LogId":
        cluster_id, _, topic_id = text.partition(":")
        return LogId(cluster_id, topic_id)
