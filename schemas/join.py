"""The join of a product's three groups: the one rule by which records become state (HOLES 14).

An event carries whole groups; an absent group means unchanged. Each group keeps the greatest rank. A product is
visible iff its content is newer than its deletion; a group at or below the deletion is empty; an offer alone
resurrects nothing. The join is associative, commutative and idempotent, so order and repetition do not matter.
"""

from enum import Enum
from typing import NamedTuple

import msgspec


class Rank(msgspec.Struct, frozen=True, order=True):
    """What decides between two values of one group, compared field by field in this order.

    ``digest`` covers the group's source fields and view hashes, so equal ranks mean equal groups.
    """

    version: int
    sequence: int = 0
    revision: int = 0
    digest: bytes = b""


class Ranks(NamedTuple):
    """The ranks of a product's groups; None: the group is absent."""

    content: Rank | None = None
    offer: Rank | None = None
    deleted: Rank | None = None

    @property
    def is_visible(self) -> bool:
        """Whether the product can be found: a surviving content group says so by itself (see :func:`decide`)."""
        return self.content is not None


class Ignored(Enum):
    """Why no group of a record changed anything; a metric label and a part of why-not."""

    DUPLICATE = "duplicate"
    OLDER = "older"
    SAME_VERSION_AFTER_DELETE = "same-version-after-delete"
    OLDER_THAN_DELETE = "older-than-delete"


class Decision(NamedTuple):
    """What a record does to a product.

    ``after`` are the ranks afterwards; ``take_*`` say which groups come from the record; a group that was there and
    is absent from ``after`` was emptied by a deletion. ``ignored`` is set iff nothing changed.
    """

    after: Ranks
    take_content: bool
    take_offer: bool
    take_deleted: bool
    ignored: Ignored | None


def decide(current: Ranks, incoming: Ranks) -> Decision:
    """Join the ranks of a record into those of a product; pure, and used by node, compactor and oracle alike."""
    deleted, take_deleted = _greater(current.deleted, incoming.deleted)
    content, take_content = _greater(current.content, incoming.content)
    offer, take_offer = _greater(current.offer, incoming.offer)
    content, take_content = _unless_deleted(content, take_content, deleted)
    offer, take_offer = _unless_deleted(offer, take_offer, deleted)
    after = Ranks(content, offer, deleted)
    changed = take_deleted or take_content or take_offer
    return Decision(after, take_content, take_offer, take_deleted, None if changed else _why_ignored(current, incoming))


def _greater(current: Rank | None, incoming: Rank | None) -> tuple[Rank | None, bool]:
    """The greater rank, and whether it is the incoming one; equal ranks keep the first."""
    if incoming is None or (current is not None and incoming <= current):
        return current, False
    return incoming, True


def _unless_deleted(rank: Rank | None, take: bool, deleted: Rank | None) -> tuple[Rank | None, bool]:
    if rank is not None and deleted is not None and rank.version <= deleted.version:
        return None, False
    return rank, take


def _why_ignored(current: Ranks, incoming: Ranks) -> Ignored:
    pairs = list(zip(current, incoming, strict=True))
    if all(new is None or new == old for old, new in pairs):
        return Ignored.DUPLICATE
    newest = max((rank.version for rank in (incoming.content, incoming.offer) if rank is not None), default=None)
    if newest is not None and current.deleted is not None and newest <= current.deleted.version:
        same = newest == current.deleted.version
        return Ignored.SAME_VERSION_AFTER_DELETE if same else Ignored.OLDER_THAN_DELETE
    return Ignored.OLDER
