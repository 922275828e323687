"""Counting what shoppers did with answers: click-through by position, carts, abandonment (DESIGN 8). Pure."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from sys import intern
from typing import NamedTuple

from schemas.feedback import Click, PositionQuality, Search, SearchQuality

DEFAULT_ARM = "default"
ENGAGEMENTS = frozenset({"click", "add_to_cart", "purchase", "save"})
"""Kinds after which a search was not abandoned."""


@dataclass(slots=True)
class _Tally:
    """The counts of one arm of one window; positions → [shown, clicks]."""

    searches: int = 0
    zero_results: int = 0
    abandoned: int = 0
    carts: int = 0
    purchases: int = 0
    positions: dict[int, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))


class Place(NamedTuple):
    """Where a product was shown, and which arm had put it there."""

    position: int
    arm: str


@dataclass(slots=True)
class Answered:
    """One search and what was done with its answer: product → kind → the clicks, without repetitions.

    Many are kept for long, so each has only what is still needed of its search.
    """

    query_id: str
    tenant: str
    space: str
    text: str | None
    embedding: bytes | None
    shown: dict[str, Place]
    clicks: dict[str, dict[str, set[Click]]] = field(default_factory=dict)
    is_abandoned: bool = True

    @classmethod
    def of(cls, search: Search) -> "Answered":
        """A search that nothing was done with yet."""
        shown = {each.product_id: _place(each.position, each.arm) for each in search.shown}
        tenant, space = intern(search.tenant), intern(search.space)
        return cls(search.query_id, tenant, space, search.text, search.embedding, shown)

    @property
    def arms(self) -> set[str]:
        """The arms that had a part in the answer."""
        return {shown.arm for shown in self.shown.values()} or {DEFAULT_ARM}


@lru_cache(maxsize=10_000)
def _place(position: int, arm: str) -> Place:
    """The same object for all that were shown there."""
    return Place(position, arm)


@dataclass(slots=True)
class QualityWindow:
    """The searches of one tenant within one window, counted as they come."""

    tenant: str
    start: int
    length: int
    events: int = 0
    is_changed: bool = False
    tallies: dict[str, _Tally] = field(default_factory=lambda: defaultdict(_Tally))

    def count_search(self, answered: Answered) -> None:
        """A search counts once in each arm that had a part in its answer; a product counts in its own arm."""
        self._changed()
        for arm in answered.arms:
            tally = self.tallies[arm]
            tally.searches += 1
            tally.zero_results += not answered.shown
            tally.abandoned += bool(answered.shown)
        for shown in answered.shown.values():
            self.tallies[shown.arm].positions[shown.position][0] += 1

    def count_click(self, answered: Answered, click: Click) -> None:
        """Of one kind the first click on a product of an answer counts, in the arm of the product."""
        kinds = answered.clicks.setdefault(click.product_id, {})
        clicks = kinds.setdefault(click.kind, set())
        if click in clicks:
            return
        is_first = not clicks
        clicks.add(click)
        self._changed()
        shown = answered.shown[click.product_id]
        tally = self.tallies[shown.arm]
        tally.positions[shown.position][1] += is_first and click.kind == "click"
        tally.carts += is_first and click.kind == "add_to_cart"
        tally.purchases += is_first and click.kind == "purchase"
        if answered.is_abandoned and click.kind in ENGAGEMENTS:
            answered.is_abandoned = False
            for arm in answered.arms:
                self.tallies[arm].abandoned -= 1

    def rows(self) -> Iterator[SearchQuality]:
        """The window as it is now, a row for each arm."""
        for arm, tally in sorted(self.tallies.items()):
            yield SearchQuality(
                tenant=self.tenant,
                arm=arm,
                window_start=self.start,
                window_end=self.start + self.length,
                revision=self.events,
                searches=tally.searches,
                zero_results=tally.zero_results,
                abandoned=tally.abandoned,
                clicks=sum(clicks for _, clicks in tally.positions.values()),
                carts=tally.carts,
                purchases=tally.purchases,
                positions=tuple(
                    PositionQuality(position, shown, clicks, clicks / shown)
                    for position, (shown, clicks) in sorted(tally.positions.items())
                ),
            )

    def _changed(self) -> None:
        self.events += 1
        self.is_changed = True
