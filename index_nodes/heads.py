"""Heads: the one object per published generation; creating it is the commit (HOLES 16, 17)."""

import msgspec

from schemas.errors import HeadExists, ManifestCorrupt
from schemas.lane import Lane
from topics.store import ObjectStore


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a shard serves. ``seq`` is never used twice; a rollback is a new head at an older build."""

    seq: int
    build: str
    manifest_checksum: str
    next_offsets: dict[str, int]
    log_id: str
    reason: str
    created_at_us: int


def heads_prefix(lane: Lane, shard: int) -> str:
    """The folder of a shard's heads."""
    return f"heads/{lane.layout.layout_id}/{lane.name}/{shard}"


def head_key(lane: Lane, shard: int, seq: int) -> str:
    """Where a head is in the store; keys sort as their numbers do."""
    return f"{heads_prefix(lane, shard)}/{seq:012d}.json"


def head_numbers(store: ObjectStore, lane: Lane, shard: int) -> list[int]:
    """The sequence numbers of all heads, ascending."""
    names = (key.rsplit("/", 1)[1] for key in store.list(heads_prefix(lane, shard)))
    return sorted(int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdecimal())


def read_head(store: ObjectStore, lane: Lane, shard: int, seq: int) -> Head:
    """One head; raises ManifestCorrupt if it is missing or unreadable."""
    key = head_key(lane, shard, seq)
    try:
        head = msgspec.json.decode(store.get(key), type=Head)
    except FileNotFoundError:
        raise ManifestCorrupt(f"there is no head {seq} of shard {shard}") from None
    except msgspec.DecodeError as error:
        raise ManifestCorrupt(f"{key}: {error}") from error
    if head.seq != seq:
        raise ManifestCorrupt(f"{key} says it is head {head.seq}")
    return head


def newest_head(store: ObjectStore, lane: Lane, shard: int) -> Head | None:
    """The head to serve; None before the first compaction."""
    numbers = head_numbers(store, lane, shard)
    return read_head(store, lane, shard, numbers[-1]) if numbers else None


def publish(store: ObjectStore, lane: Lane, shard: int, head: Head) -> None:
    """Create the head, which makes its build the served one.

    Raises:
        HeadExists: another compactor was faster; drop the build.
    """
    raw = msgspec.json.format(msgspec.json.encode(head), indent=2)
    if not store.put_if_absent(head_key(lane, shard, head.seq), raw):
        raise HeadExists(f"head {head.seq} of shard {shard} was published by another compactor")
