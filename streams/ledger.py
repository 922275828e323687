"""Which events are finished, in delivery order: what may be committed, and how far a source has come (HOLES 3, 10).

Faust's own bookkeeping commits past unfinished events, so it is not asked: the consumer of ``streams.app`` commits
what :meth:`AckLedger.watermark` says.
"""

from dataclasses import dataclass, field
from typing import NamedTuple


class Place(NamedTuple):
    """One partition of an input topic, by its name on the cluster."""

    topic: str
    partition: int


class Ticket(NamedTuple):
    """The receipt of one delivered event; give it back when the event is finished."""

    place: Place
    offset: int
    assignment: int


@dataclass(slots=True)
class _Assigned:
    """One assignment of one partition. ``unfinished`` keeps delivery order, which is the order of offsets."""

    assignment: int
    next_offset: int
    unfinished: dict[int, None] = field(default_factory=dict)


class AckLedger:
    """Delivered and unfinished events per source partition; pure, used from one thread.

    An assignment begins when the consumer has been sought to a position, and ends with the next one or with
    :meth:`end`. Whatever belongs to an earlier assignment is neither delivered nor counted: it is delivered again.
    """

    def __init__(self) -> None:
        self._assigned: dict[Place, _Assigned] = {}
        self._assignments = 0

    @property
    def in_flight(self) -> int:
        """Events delivered and not finished, over all partitions."""
        return sum(len(assigned.unfinished) for assigned in self._assigned.values())

    @property
    def places(self) -> tuple[Place, ...]:
        """The partitions assigned now."""
        return tuple(self._assigned)

    def assignment(self, place: Place) -> int:
        """The number of a partition's present assignment; 0: not assigned."""
        assigned = self._assigned.get(place)
        return assigned.assignment if assigned is not None else 0

    def begin(self, place: Place, next_offset: int) -> int:
        """A new assignment of a partition, from this position on; returns its number."""
        assert next_offset >= 0, next_offset
        self._assignments += 1
        self._assigned[place] = _Assigned(self._assignments, next_offset)
        return self._assignments

    def end(self, place: Place) -> None:
        """The partition is ours no more; what is in flight will be somebody else's."""
        self._assigned.pop(place, None)

    def deliver(self, place: Place, offset: int) -> Ticket | None:
        """Take delivery of an event; None if it is not to be processed (not assigned, or delivered before)."""
        assigned = self._assigned.get(place)
        if assigned is None or offset < assigned.next_offset:
            return None
        assigned.unfinished[offset] = None
        assigned.next_offset = offset + 1
        return Ticket(place, offset, assigned.assignment)

    def is_current(self, ticket: Ticket) -> bool:
        """Whether the event is still ours to finish."""
        assigned = self._assigned.get(ticket.place)
        return (
            assigned is not None and assigned.assignment == ticket.assignment and ticket.offset in assigned.unfinished
        )

    def finish(self, ticket: Ticket) -> bool:
        """The event has its effect, confirmed by the broker. False: it belongs to an earlier assignment."""
        if not self.is_current(ticket):
            return False
        del self._assigned[ticket.place].unfinished[ticket.offset]
        return True

    def next_offset(self, place: Place) -> int | None:
        """The next offset to be delivered. None: not assigned."""
        assigned = self._assigned.get(place)
        return None if assigned is None else assigned.next_offset

    def watermark(self, place: Place) -> int | None:
        """The lowest unfinished offset, or the next to be delivered: all below is finished. None: not assigned."""
        assigned = self._assigned.get(place)
        if assigned is None:
            return None
        return next(iter(assigned.unfinished), assigned.next_offset)
