"""A back-fill beside live events (HOLES 27): whatever the interleaving, the index is the live state over the dump.

The oracle knows no ranks: it takes the catalogue at the time of the dump as the state then, and live events since.
"""

import random
from dataclasses import dataclass
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from freshlens.backfill.dates import DumpDate
from freshlens.backfill.reconcile import plan
from schemas.join import Rank, Ranks, decide
from schemas.versions import VersionKind, resolve

DAY_US = 86_400_000_000
NOW_US = 1_795_200_000_000_000
DUMP_US = NOW_US - 10_000
PRODUCTS = ("a", "b", "c")


@dataclass(frozen=True)
class Event:
    """Something that happened in the catalogue: ``at`` in milliseconds around the dump, at most one each.

    ``lost``: it was deleted, and nobody was told.
    """

    product: str
    at: int
    what: str

    @property
    def ranks(self) -> Ranks:
        """As a worker resolves it, from the broker's time of the event."""
        appended_ms = DUMP_US // 1000 + self.at
        rank = Rank(*resolve(VersionKind.MICROSECONDS, None, appended_at_ms=appended_ms, offset=0))
        return Ranks(**{self.what: rank})


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """At most one event a millisecond; a product that was lost has no new prices, until it is there again."""
    found: list[Event] = []
    lost: set[str] = set()
    for at in sorted(draw(st.sets(st.integers(-5, 9).filter(bool), max_size=10))):
        product = draw(st.sampled_from(PRODUCTS))
        what = draw(st.sampled_from(["content", "content", "offer", "deleted", *["lost"] * (at < 0)]))
        lost = lost | {product} if what == "lost" else lost - {product} if what == "content" else lost
        if what != "offer" or product not in lost:
            found.append(Event(product, at, what))
    return found


def dump_rows(history: list[Event]) -> dict[str, Ranks]:
    """What the catalogue dumps: every product that is there at the time, with content and offer."""
    there: set[str] = set()
    for event in history:
        if event.at < 0 and event.what != "offer":
            there = there | {event.product} if event.what == "content" else there - {event.product}
    date = DumpDate(VersionKind.MICROSECONDS, DUMP_US)
    rank = Rank(*date.version_of(None, 1, NOW_US))
    return {product: Ranks(content=rank, offer=rank) for product in there}


def told(history: list[Event]) -> list[tuple[str, Ranks]]:
    """The records of the live events."""
    return [(event.product, event.ranks) for event in history if event.what != "lost"]


def folded(records: list[tuple[str, Ranks]]) -> dict[str, Ranks]:
    def apply(states: dict[str, Ranks], record: tuple[str, Ranks]) -> dict[str, Ranks]:
        product, ranks = record
        return {**states, product: decide(states.get(product, Ranks()), ranks).after}

    return reduce(apply, records, {})


def truth(history: list[Event]) -> dict[str, int | None]:
    """By product that can be found: the time of its content, None for the dump's; without joining anything."""
    found: dict[str, int | None] = dict.fromkeys(dump_rows(history))
    for event in history:
        if event.at < 0:
            continue
        if event.what == "deleted":
            found.pop(event.product, None)
        elif event.what == "content":
            found[event.product] = event.at
    return found


def seen(states: dict[str, Ranks]) -> dict[str, int | None]:
    versions = {product: ranks.content.version for product, ranks in states.items() if ranks.content is not None}
    return {
        product: None if version == DUMP_US else (version - DUMP_US) // 1000 for product, version in versions.items()
    }


@given(histories(), st.randoms(use_true_random=False), st.booleans())
def test_in_any_interleaving_the_index_is_the_live_state_over_the_dump(
    history: list[Event], chance: random.Random, is_loaded_twice: bool
) -> None:
    live = told(history)
    loaded = list(dump_rows(history).items()) * (1 + is_loaded_twice)
    records = live + loaded
    chance.shuffle(records)
    states = folded(records)
    in_dump = frozenset(dump_rows(history))
    indexed = [
        (product, max(rank.version for rank in (ranks.content, ranks.offer) if rank))
        for product, ranks in states.items()
        if ranks.is_visible
    ]
    deletes = plan(indexed, in_dump, DUMP_US).delete
    reconciled = folded([*records, *((product, Ranks(deleted=Rank(DUMP_US))) for product in deletes)])
    assert seen(reconciled) == truth(history)


@given(histories(), st.integers(0, 10), st.randoms(use_true_random=False))
def test_a_live_event_during_the_reconciliation_survives_it(
    history: list[Event], cut: int, chance: random.Random
) -> None:
    """The index is looked at, then more happens, then the deletes arrive."""
    early = [event for event in history if event.at < cut]
    records = told(early) + list(dump_rows(history).items())
    states = folded(records)
    indexed = [(product, ranks.content.version) for product, ranks in states.items() if ranks.content is not None]
    deletes = plan(indexed, frozenset(dump_rows(history)), DUMP_US).delete
    later = told([event for event in history if event.at >= cut])
    later += [(product, Ranks(deleted=Rank(DUMP_US))) for product in deletes]
    chance.shuffle(later)
    assert seen(folded([*records, *later])) == truth(history)


@given(histories())
def test_a_row_of_its_own_version_changes_nothing_of_what_it_is_a_copy_of(history: list[Event]) -> None:
    """Explicit versions: the dump is what the live events said, so loading it changes nothing."""
    date = DumpDate(VersionKind.MICROSECONDS, DUMP_US)
    live = told(history)
    newest = {event.product: event for event in history if event.at < 0 and event.what == "content"}
    copies = []
    for product, event in newest.items():
        version = (DUMP_US // 1000 + event.at) * 1000
        copies.append((product, Ranks(content=Rank(*date.version_of(version, 1, NOW_US)))))
    assert seen(folded(live + copies)) == seen(folded(live))
