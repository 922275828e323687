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


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """Why a build is kept without being served, until somebody accepts it or it is too old."""

    build: str
    parent_seq: int
    manifest_checksum: str
    reasons: tuple[str, ...]
    rejected_at_us: int


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
        raise ManifestCorrupt(
            f"there is no head {seq} of shard {shard}: it never was, or retention removed it; "
            "`freshlens generations list` shows what there is"
        ) from None
    except msgspec.DecodeError as error:
        raise ManifestCorrupt(f"{key}: {error}: `freshlens generations rollback` to an older head") from error
    if head.seq != seq:
        raise ManifestCorrupt(f"{key} says it is head {head.seq}: `freshlens generations rollback` to an older one")
    return head


def newest_head(store: ObjectStore, lane: Lane, shard: int) -> Head | None:
    """The head to serve; None before the first compaction."""
    numbers = head_numbers(store, lane, shard)
    return read_head(store, lane, shard, numbers[-1]) if numbers else None


def publish(store: ObjectStore, lane: Lane, shard: int, head: Head) -> None:
    """Create the head, which makes its build the served one.

    Raises:
        HeadExists: another compactor was faster; drop the build.
        StoreUnavailable: it may be published or not; keep the build.
    """
    raw = msgspec.json.format(msgspec.json.encode(head), indent=2)
    if store.put_if_absent(head_key(lane, shard, head.seq), raw):
        _check_followed(store, lane, shard, head)
        return
    # A remote store may repeat a request whose answer was lost, and so find our own head there.
    if read_head(store, lane, shard, head.seq) != head:
        raise HeadExists(f"head {head.seq} of shard {shard} was published by another compactor")


def _check_followed(store: ObjectStore, lane: Lane, shard: int, head: Head) -> None:
    """Take the head back if its number had been used before.

    Who slept for days between listing heads and here finds the number free again, since retention has removed it: no
    node would ever look at such a head. In its place in the chain the one before it is there.
    """
    numbers = head_numbers(store, lane, shard)
    if numbers[-1] > head.seq and head.seq - 1 not in {0, *numbers}:
        store.delete(head_key(lane, shard, head.seq))
        raise HeadExists(f"head {head.seq} of shard {shard} came too late: head {numbers[-1]} is there")


def reject(store: ObjectStore, lane: Lane, shard: int, rejection: Rejection) -> None:
    """Write down why a build was not published."""
    store.put(
        rejection_key(lane, shard, rejection.build), msgspec.json.format(msgspec.json.encode(rejection), indent=2)
    )


def rejection_key(lane: Lane, shard: int, build: str) -> str:
    """Where the record of a rejected build is in the store."""
    return f"rejected/{lane.layout.layout_id}/{lane.name}/{shard}/{build}.json"


def rejections(store: ObjectStore, lane: Lane, shard: int) -> list[Rejection]:
    """The records of this shard, oldest first; raises ManifestCorrupt if one is unreadable."""
    folder = rejection_key(lane, shard, "").removesuffix("/.json")
    found = []
    for key in store.list(folder):
        try:
            found.append(msgspec.json.decode(store.get(key), type=Rejection))
        except FileNotFoundError:
            continue  # removed meanwhile
        except msgspec.DecodeError as error:
            raise ManifestCorrupt(f"{key}: {error}: remove it") from error
    return sorted(found, key=lambda rejection: (rejection.rejected_at_us, rejection.build))


def rejected_in_a_row(found: list[Rejection], newest: Head | None) -> int:
    """How many builds in succession were to follow the newest head and were rejected."""
    seq = newest.seq if newest else 0
    return sum(rejection.parent_seq == seq for rejection in found)
