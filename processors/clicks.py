"""Clicks joined to the searches they answer: windows of search quality, and pairs to learn from (DESIGN 8). Pure.

A window is the searches of one tenant within a stretch of ``searched_at``; a click counts in the window of its search.
Windows may be published at any time: their revision is the number of distinct events in them, so a later and fuller
state of a window has a greater revision, and so has the full window over one rebuilt in part after a restart. Readers
keep the greatest. Every event comes with a receipt, which is given back when nothing will need the event again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from schemas.feedback import Click, PositionQuality, Search, SearchQuality, Shown, TrainingPair

Receipt = TypeVar("Receipt")

DEFAULT_ARM = "default"
DWELL_MS_MIN = 5_000
PAIR_WEIGHTS = {"purchase": 5.0, "add_to_cart": 3.0, "click": 1.0}
"""Kinds that say "this was what I looked for", best first; a click only after :data:`DWELL_MS_MIN`."""
REJECTIONS = frozenset({"return", "not_relevant", "report"})
"""Kinds that take a pair away again."""
ENGAGEMENTS = frozenset({"click", "add_to_cart", "purchase", "save"})
"""Kinds after which a search was not abandoned."""


@dataclass(frozen=True, slots=True)
class Windows:
    """How searches are divided, and how long and how many are kept to be joined.

    Attributes:
        window_us: length of a window.
        lateness_us: a window is finished this long after its last search arrived; a click waits as long for its search.
        events_max: searches and clicks held; beyond, the oldest windows are finished early.
    """

    window_us: int = 60_000_000
    lateness_us: int = 1_800_000_000
    events_max: int = 100_000

    def start_of(self, searched_at: int) -> int:
        """The beginning of the window that a time lies in."""
        return searched_at - searched_at % self.window_us


@dataclass(slots=True)
class Finished(Generic[Receipt]):
    """What became final.

    Attributes:
        receipts: of events that nothing needs any more.
        pairs: what to learn from the finished windows.
        dropped: clicks that count nowhere, by reason: ``no-search``, ``not-shown``, ``other-tenant``.
    """

    receipts: list[Receipt] = field(default_factory=list)
    pairs: list[TrainingPair] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Answered:
    """One search and what was done with its answer: product → kind → the clicks, without repetitions."""

    search: Search
    shown: dict[str, Shown]
    clicks: dict[str, dict[str, set[Click]]] = field(default_factory=dict)

    def take(self, click: Click) -> bool:
        """Whether the click is new."""
        clicks = self.clicks.setdefault(click.product_id, {}).setdefault(click.kind, set())
        is_new = click not in clicks
        clicks.add(click)
        return is_new

    def did(self, product_id: str, kind: str) -> bool:
        return kind in self.clicks.get(product_id, {})

    @property
    def is_abandoned(self) -> bool:
        return bool(self.shown) and not any(ENGAGEMENTS & kinds.keys() for kinds in self.clicks.values())


@dataclass(slots=True)
class _Window(Generic[Receipt]):
    tenant: str
    start: int
    last_search_us: int = 0
    events: int = 0
    is_changed: bool = False
    answered: list[_Answered] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)


@dataclass(slots=True)
class _Waiting(Generic[Receipt]):
    """A click whose search has not come yet."""

    click: Click
    receipt: Receipt
    since_us: int


class ClickJoin(Generic[Receipt]):
    """The open windows, and the clicks that wait for their searches. Used from one thread; bounded by ``events_max``.

    Call :meth:`finish` whenever :attr:`is_full`, and from time to time.
    """

    def __init__(self, windows: Windows) -> None:
        self._rules = windows
        self._windows: dict[tuple[str, int], _Window[Receipt]] = {}
        self._of_query: dict[str, tuple[_Answered, _Window[Receipt]]] = {}
        self._waiting: dict[str, list[_Waiting[Receipt]]] = {}
        self._finished: Finished[Receipt] = Finished()
        self._held = 0

    @property
    def is_full(self) -> bool:
        """Whether more events are held than allowed."""
        return self._held > self._rules.events_max

    def add_search(self, search: Search, receipt: Receipt, now_us: int) -> None:
        """Take a search; one that was taken already changes nothing."""
        self._held += 1
        if (known := self._of_query.get(search.query_id)) is not None:
            known[1].receipts.append(receipt)
            return
        start = self._rules.start_of(search.searched_at)
        window = self._windows.setdefault((search.tenant, start), _Window(search.tenant, start))
        answered = _Answered(search, {shown.product_id: shown for shown in search.shown})
        window.answered.append(answered)
        window.receipts.append(receipt)
        window.last_search_us = now_us
        window.events += 1
        window.is_changed = True
        self._of_query[search.query_id] = answered, window
        for waiting in self._waiting.pop(search.query_id, []):
            self._join(waiting.click, waiting.receipt)

    def add_click(self, click: Click, receipt: Receipt, now_us: int) -> None:
        """Take a click; it may come before its search."""
        self._held += 1
        if click.query_id in self._of_query:
            self._join(click, receipt)
        else:
            self._waiting.setdefault(click.query_id, []).append(_Waiting(click, receipt, now_us))

    def changed(self) -> list[SearchQuality]:
        """The windows that changed since the last call, as they are now."""
        rows: list[SearchQuality] = []
        for window in self._windows.values():
            if window.is_changed:
                window.is_changed = False
                rows.extend(_quality(window, self._rules.window_us))
        return rows

    def finish(self, now_us: int) -> Finished[Receipt]:
        """Let go of what is old, and of the oldest where too much is held. Publish :meth:`changed` first."""
        due = now_us - self._rules.lateness_us
        for key in [key for key, window in self._windows.items() if window.last_search_us <= due]:
            self._finish_window(key)
        for query_id in [query_id for query_id, clicks in self._waiting.items() if clicks[0].since_us <= due]:
            self._give_up(query_id)
        while self.is_full:
            if self._windows:
                self._finish_window(next(iter(self._windows)))
            else:
                self._give_up(next(iter(self._waiting)))
        finished, self._finished = self._finished, Finished()
        return finished

    def _join(self, click: Click, receipt: Receipt) -> None:
        answered, window = self._of_query[click.query_id]
        if click.tenant != answered.search.tenant:
            return self._drop("other-tenant", receipt)
        if click.product_id not in answered.shown:
            return self._drop("not-shown", receipt)
        window.receipts.append(receipt)
        if answered.take(click):
            window.events += 1
            window.is_changed = True
        return None

    def _finish_window(self, key: tuple[str, int]) -> None:
        window = self._windows.pop(key)
        for answered in window.answered:
            del self._of_query[answered.search.query_id]
            self._finished.pairs.extend(_pairs(answered))
        self._finished.receipts.extend(window.receipts)
        self._held -= len(window.receipts)

    def _give_up(self, query_id: str) -> None:
        for waiting in self._waiting.pop(query_id):
            self._drop("no-search", waiting.receipt)

    def _drop(self, reason: str, receipt: Receipt) -> None:
        self._finished.dropped[reason] += 1
        self._finished.receipts.append(receipt)
        self._held -= 1


@dataclass(slots=True)
class _Tally:
    """The counts of one arm of one window; positions → [shown, clicks]."""

    searches: int = 0
    zero_results: int = 0
    abandoned: int = 0
    carts: int = 0
    purchases: int = 0
    positions: dict[int, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))


def _quality(window: _Window[Receipt], window_us: int) -> Iterator[SearchQuality]:
    tallies: dict[str, _Tally] = defaultdict(_Tally)
    for answered in window.answered:
        _count(answered, tallies)
    for arm, tally in sorted(tallies.items()):
        yield SearchQuality(
            tenant=window.tenant,
            arm=arm,
            window_start=window.start,
            window_end=window.start + window_us,
            revision=window.events,
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


def _count(answered: _Answered, tallies: dict[str, _Tally]) -> None:
    """A search counts once in each arm that had a part in its answer; a product counts in its own arm."""
    for arm in {shown.arm for shown in answered.shown.values()} or {DEFAULT_ARM}:
        tallies[arm].searches += 1
        tallies[arm].zero_results += not answered.shown
        tallies[arm].abandoned += answered.is_abandoned
    for product_id, shown in answered.shown.items():
        tally, position = tallies[shown.arm], tallies[shown.arm].positions[shown.position]
        position[0] += 1
        position[1] += answered.did(product_id, "click")
        tally.carts += answered.did(product_id, "add_to_cart")
        tally.purchases += answered.did(product_id, "purchase")


def _pairs(answered: _Answered) -> Iterator[TrainingPair]:
    search = answered.search
    if search.text is None and search.embedding is None:
        return  # a filter or another product is no query to learn from
    for product_id, kinds in answered.clicks.items():
        best = None if REJECTIONS & kinds.keys() else _best(kinds)
        if best is not None:
            yield TrainingPair(
                query_id=search.query_id,
                tenant=search.tenant,
                product_id=product_id,
                kind=best.kind,
                position=answered.shown[product_id].position,
                weight=PAIR_WEIGHTS[best.kind],
                space=search.space,
                clicked_at=best.clicked_at,
                text=search.text,
                embedding=search.embedding,
            )


def _best(kinds: dict[str, set[Click]]) -> Click | None:
    """The click that says most; the earliest of its kind."""
    for kind in PAIR_WEIGHTS:
        convincing = [
            click for click in kinds.get(kind, ()) if kind != "click" or (click.dwell_ms or 0) >= DWELL_MS_MIN
        ]
        if convincing:
            return min(convincing, key=lambda click: click.clicked_at)
    return None
