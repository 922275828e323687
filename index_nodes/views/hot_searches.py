"""What searches that are asked again and again found in the generation, so that only what changed since is looked at.

The generation never changes; what passes does. A kept search knows which of the generation's rows are the nearest of
those that passed, down to a score. In a later view the same rows are asked whether they still pass, and the slots
that have changed since are compared anew, so the answer is that of a search in the captured view: a row that died,
was sold out or no longer passes is gone, and one that passes again is there. What lies behind the generation is
always searched. Where rows have left so that too few remain, the search is made again.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

import msgspec
import numpy as np

from index_nodes.products.overlay import Overlay
from index_nodes.rows.exact import TIE
from index_nodes.rows.passing import Nearest, Passing, joined
from index_nodes.views.view import IndexView
from schemas.embeddings import Vector
from schemas.filters import Filter
from schemas.metrics import Metrics, NullMetrics

CHANGES_MAX = 512
"""More slots than this cost more to compare than a search."""


class Question(NamedTuple):
    """Everything that decides which of the generation's rows are the nearest; ``digest`` is of query and filter."""

    tenant: str
    digest: bytes
    wanted: int
    exact: bool
    effort: float


class _Kept(NamedTuple):
    """What was found.

    Attributes:
        entries: of the overlay, at that time.
        nearest: passing rows, best first, none missing from ``floor`` up as far as was looked.
        floor: the least score that was looked for; -inf where nothing was left out.
    """

    entries: int
    nearest: Nearest
    floor: float


class HotSearches:
    """The last searches of one node; any thread may ask.

    Args:
        kept_max: how many are remembered, some 0.6 KB each for ten results; at least 1.
    """

    def __init__(self, kept_max: int, metrics: Metrics = NullMetrics()) -> None:  # noqa: B008  # reports to nobody
        self._max, self._metrics = kept_max, metrics
        self._lock = threading.Lock()
        self._overlay: Overlay | None = None
        self._kept: OrderedDict[Question, _Kept] = OrderedDict()

    def search(
        self, view: IndexView, question: Question, query: Vector, passing: Passing, search: Callable[[], Nearest]
    ) -> Nearest:
        """At least the ``wanted`` nearest rows of the generation that pass, or all that pass.

        Args:
            search: finds them without looking here.
        """
        kept = self._known(view, question)
        now = None if kept is None else _now(kept, view, question.wanted, query, passing)
        outcome = "hit" if now else "miss" if kept is None else "changed"
        self._metrics.count("freshlens_hot_searches_total", result=outcome)
        if now is None:
            nearest = search()
            is_all = len(nearest.rows) < question.wanted
            now = _Kept(view.overlay.count, nearest, -np.inf if is_all else float(nearest.scores[-1]))
        self._keep(view, question, now)
        return now.nearest

    def _known(self, view: IndexView, question: Question) -> _Kept | None:
        with self._lock:
            if self._overlay is not view.overlay.overlay:
                return None
            kept = self._kept.get(question)
        # A search that took its view before this one was kept knows nothing of what came between.
        return kept if kept is not None and kept.entries <= view.overlay.count else None

    def _keep(self, view: IndexView, question: Question, kept: _Kept) -> None:
        with self._lock:
            if self._overlay is not view.overlay.overlay:  # another generation, or the overlay was written anew
                self._overlay = view.overlay.overlay
                self._kept.clear()
            self._kept[question] = kept
            self._kept.move_to_end(question)
            if len(self._kept) > self._max:
                self._kept.popitem(last=False)


def digest_of(query: Vector, clause: Filter | None) -> bytes:
    """Tells what is asked from everything else that is; a filter itself may be long."""
    hasher = blake2b(query.tobytes(), digest_size=16)
    if clause is not None:
        hasher.update(msgspec.msgpack.encode(clause))
    return hasher.digest()


def _now(kept: _Kept, view: IndexView, wanted: int, query: Vector, passing: Passing) -> _Kept | None:
    """What was kept, as it is in this view; None where only a search can tell."""
    entries = view.overlay.count
    if entries - kept.entries > CHANGES_MAX:
        return None
    still = kept.nearest.among(passing.includes(kept.nearest.rows))
    gained = _gained(kept, view, query, passing) if entries > kept.entries else _NOTHING
    nearest = joined(still, gained.among(gained.scores >= kept.floor))
    is_whole = kept.floor == -np.inf or len(still.rows) == len(kept.nearest.rows)
    # Of those that tie with the floor some may have been left out, which counts once a place among the best is free.
    enough = int(np.count_nonzero(nearest.scores > kept.floor + TIE)) >= wanted
    return _Kept(entries, nearest, kept.floor) if is_whole or enough else None


def _gained(kept: _Kept, view: IndexView, query: Vector, passing: Passing) -> Nearest:
    """The passing rows of slots that changed since, other than those that are kept."""
    changed = np.unique(view.overlay.slots[kept.entries :]).astype(np.int64)
    rows = view.generation.rows_of_all(changed)
    rows = rows[passing.includes(rows)]
    rows = rows[~np.isin(rows, kept.nearest.rows)]
    return Nearest(rows, view.generation.vectors[rows].astype(np.float32) @ query)


_NOTHING = Nearest(np.empty(0, np.int64), np.empty(0, np.float32))
