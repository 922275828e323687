"""Facts about progress, and the read tokens they answer (HOLES 10)."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec

from schemas.errors import InvalidQuery


class ProgressFact(msgspec.Struct, frozen=True):
    """All of (topic, partition) below ``watermark`` has its effect in index-log below ``reach``.

    True for ever once true, so late, duplicate and outdated facts need no fencing. ``reach`` maps index-log
    partitions, as decimal strings, to next offsets.
    """

    lane: str
    log_id: str
    topic: str
    partition: int
    watermark: int
    reach: dict[str, int]

    @property
    def reach_by_partition(self) -> dict[int, int]:
        return {int(partition): offset for partition, offset in self.reach.items()}


class Position(msgspec.Struct, frozen=True, array_like=True):
    """One record that a reader wants to have been taken into account. ``log_id`` empty: not said."""

    log_id: str
    topic: str
    partition: int
    offset: int


class ReadToken(msgspec.Struct, frozen=True):
    """At least as fresh as these positions; opaque to callers, at most one position per (topic, partition)."""

    positions: tuple[Position, ...] = ()

    def encode(self) -> str:
        """The token as an opaque string that is safe in URLs and headers; a log is named once, however many
        partitions it has."""
        logs: dict[tuple[str, str], dict[int, int]] = {}
        for position in self.positions:
            logs.setdefault((position.log_id, position.topic), {})[position.partition] = position.offset
        packed = msgspec.msgpack.encode([(*log, offsets) for log, offsets in logs.items()])
        return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


POSITIONS_MAX = 2_048
"""Of one token: all partitions of index-log, and as many of the topics of products."""
_Partition = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
_Offset = Annotated[int, msgspec.Meta(ge=0, lt=(1 << 63) - 1)]
_logs = msgspec.msgpack.Decoder(list[tuple[str, str, dict[_Partition, _Offset]]])


def decode_token(text: str) -> ReadToken:
    """The token behind an opaque string; raises InvalidQuery for anything we did not write."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        logs = _logs.decode(raw)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise InvalidQuery("min_offset is not a read token of ours") from None
    if (count := sum(len(offsets) for _, _, offsets in logs)) > POSITIONS_MAX:
        raise InvalidQuery(f"min_offset names {count} positions, and {POSITIONS_MAX} are allowed")
    return ReadToken(
        tuple(Position(log_id, topic, *place) for log_id, topic, offsets in logs for place in offsets.items())
    )


def token_of(positions: Iterable[Position]) -> ReadToken:
    """One token over many positions: the greatest offset of each (topic, partition)."""
    greatest: dict[tuple[str, str, int], int] = {}
    for position in positions:
        place = (position.log_id, position.topic, position.partition)
        greatest[place] = max(greatest.get(place, -1), position.offset)
    return ReadToken(tuple(Position(*place, offset) for place, offset in sorted(greatest.items())))


def required_offsets(
    position: Position, facts: Iterable[ProgressFact], applied: Mapping[int, int]
) -> dict[int, int] | None:
    """The index-log next offsets a reader must have applied before it has seen a position of an input topic.

    Args:
        position: a record of an input topic.
        facts: what is known, of any source; those of other logs and partitions are passed over.
        applied: what the reader has applied; the fact that asks least beyond it is chosen.

    Returns:
        index-log partition → next offset, or None while no fact covers the position.
    """
    covering = [
        fact.reach_by_partition
        for fact in facts
        if fact.topic == position.topic
        and fact.partition == position.partition
        and fact.watermark > position.offset
        and position.log_id in ("", fact.log_id)
    ]
    return min(
        covering,
        key=lambda reach: sum(max(0, offset - applied.get(partition, 0)) for partition, offset in reach.items()),
        default=None,
    )
