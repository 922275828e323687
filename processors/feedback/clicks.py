"""Clicks joined to the searches they answer: windows of search quality, and pairs to learn from (DESIGN 8). Pure.

A window is the searches of one tenant within a stretch of ``searched_at``; a click counts in the window of its search.
Windows may be published at any time: their revision is the number of distinct events in them, so a later and fuller
state of a window has a greater revision, and so has the full window over one rebuilt in part after a restart. Readers
keep the greatest. Every event comes with a receipt, which is given back when nothing will need the event again.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from processors.feedback.search_quality import Answered, QualityWindow
from processors.feedback.training_pairs import training_pairs
from schemas.feedback import Click, Search, SearchQuality, TrainingPair

Receipt = TypeVar("Receipt")

WINDOWS_MAX = 20_000
"""Windows whose counts are kept, of all tenants."""


@dataclass(frozen=True, slots=True)
class Windows:
    """How searches are divided, and how long and how many are kept to be joined.

    Attributes:
        window_us: length of a window.
        lateness_us: a window is finished this long after its last search arrived; a click waits as long for its search.
        events_max: searches and clicks held; beyond, the oldest are let go early: of windows only their counts stay,
            so that a later click on one of them finds no search.
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
class _Held(Generic[Receipt]):
    """A window, and its events while they are kept."""

    window: QualityWindow
    last_search_us: int = 0
    answered: list[Answered] = field(default_factory=list)
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
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget all events: those that are not finished come again, and counted twice they would outdo what is known.

        Windows that are rebuilt in part have a lower revision than what was published of them.
        """
        self._windows: dict[tuple[str, int], _Held[Receipt]] = {}
        self._of_query: dict[str, tuple[Answered, _Held[Receipt]]] = {}
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
        held = self._windows.get((search.tenant, start))
        if held is None:
            held = _Held(QualityWindow(search.tenant, start, self._rules.window_us))
            self._windows[search.tenant, start] = held
        answered = Answered.of(search)
        held.answered.append(answered)
        held.receipts.append(receipt)
        held.last_search_us = now_us
        held.window.count_search(answered)
        self._of_query[search.query_id] = answered, held
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
        for held in self._windows.values():
            if held.window.is_changed:
                held.window.is_changed = False
                rows.extend(held.window.rows())
        return rows

    def finish(self, now_us: int) -> Finished[Receipt]:
        """Let go of what is old, and of the oldest where too much is held. Publish :meth:`changed` first."""
        due = now_us - self._rules.lateness_us
        for key in [key for key, held in self._windows.items() if held.last_search_us <= due]:
            self._release(self._windows.pop(key))
        for query_id in [query_id for query_id, clicks in self._waiting.items() if clicks[0].since_us <= due]:
            self._give_up(query_id)
        while len(self._windows) > WINDOWS_MAX:
            self._release(self._windows.pop(next(iter(self._windows))))
        if self.is_full:
            self._make_room()
        finished, self._finished = self._finished, Finished()
        return finished

    def _make_room(self) -> None:
        """Let go of a tenth at once, for whoever is at the bound would come back with every event.

        The oldest goes first, whether window or waiting click: else one tenant's clicks without a search, of which
        there may be any number, would push out the searches of all others.
        """
        while self._held > self._rules.events_max - self._rules.events_max // 10:
            oldest = next((held for held in self._windows.values() if held.receipts), None)
            query_id, clicks = next(iter(self._waiting.items()), ("", None))
            if clicks and (oldest is None or clicks[0].since_us < oldest.last_search_us):
                self._give_up(query_id)
            else:
                assert oldest is not None, "whatever is held lies in a window or waits"
                self._release(oldest)

    def _join(self, click: Click, receipt: Receipt) -> None:
        answered, held = self._of_query[click.query_id]
        if click.tenant != answered.tenant:
            return self._drop("other-tenant", receipt)
        if click.product_id not in answered.shown:
            return self._drop("not-shown", receipt)
        held.receipts.append(receipt)
        held.window.count_click(answered, click)
        return None

    def _release(self, held: _Held[Receipt]) -> None:
        """Let go of a window's events; its counts stay as they are."""
        for answered in held.answered:
            del self._of_query[answered.query_id]
            self._finished.pairs.extend(training_pairs(answered))
        self._finished.receipts.extend(held.receipts)
        self._held -= len(held.receipts)
        held.answered, held.receipts = [], []

    def _give_up(self, query_id: str) -> None:
        for waiting in self._waiting.pop(query_id):
            self._drop("no-search", waiting.receipt)

    def _drop(self, reason: str, receipt: Receipt) -> None:
        self._finished.dropped[reason] += 1
        self._finished.receipts.append(receipt)
        self._held -= 1
