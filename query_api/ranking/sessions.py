"""What a session clicked on, as one decayed vector. In memory of this process, bounded, and gone at its end."""

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from schemas.embeddings import Vector
from schemas.feedback import FeedbackKind

SESSIONS_MAX = 10_000
CLICKS_MAX = 20
"""Of one session; older ones are forgotten."""
HALF_LIFE_US = 600 * 1_000_000
"""Ten minutes: what a shopper looks for now, not who the shopper is."""
_WEIGHTS: Mapping[FeedbackKind, float] = {
    "click": 1.0,
    "save": 2.0,
    "add_to_cart": 2.0,
    "purchase": 3.0,
    "not_relevant": -1.0,
    "return": -1.0,
}


@dataclass(slots=True)
class _Clicked:
    product_id: str
    at_us: int
    weight: float
    vector: Vector | None = None
    """Looked up when a search first needs it."""


class SessionProfiles:
    """The recent clicks of each session of each tenant; the session that was quiet for longest is forgotten first."""

    def __init__(self, sessions_max: int = SESSIONS_MAX) -> None:
        self._max = sessions_max
        self._clicks: OrderedDict[tuple[str, str], deque[_Clicked]] = OrderedDict()

    def clicked(self, tenant: str, session: str | None, product_id: str, kind: FeedbackKind, at_us: int) -> None:
        """Note what a shopper did; without a session, or for a report, nothing."""
        if not session or kind not in _WEIGHTS:
            return
        clicks = self._clicks.setdefault((tenant, session), deque(maxlen=CLICKS_MAX))
        clicks.append(_Clicked(product_id, at_us, _WEIGHTS[kind]))
        self._clicks.move_to_end((tenant, session))
        if len(self._clicks) > self._max:
            self._clicks.popitem(last=False)

    def knows(self, tenant: str, session: str | None) -> bool:
        """Whether the session clicked on anything that is remembered."""
        return bool(session) and bool(self._clicks.get((tenant, session or "")))

    def forget(self, tenant: str, session: str | None) -> None:
        """Drop what is known of a session."""
        self._clicks.pop((tenant, session or ""), None)

    def unknown(self, tenant: str, session: str | None) -> tuple[str, ...]:
        """The products clicked on whose vectors are not here yet; :meth:`learn` takes them."""
        clicks = self._clicks.get((tenant, session or ""), ())
        return tuple(dict.fromkeys(each.product_id for each in clicks if each.vector is None))

    def learn(self, tenant: str, session: str | None, vectors: Mapping[str, Vector | None]) -> None:
        """Take vectors of products; those without one (None), being deleted say, are forgotten."""
        clicks = self._clicks.get((tenant, session or ""))
        for each in list(clicks or ()):
            if each.vector is None and each.product_id in vectors:
                each.vector = vectors[each.product_id]
                if each.vector is None and clicks:
                    clicks.remove(each)

    def profile(self, tenant: str, session: str | None, now_us: int) -> Vector | None:
        """(dim,) float32 of unit norm: the weighted sum of what was clicked on; None if that is nothing."""
        total: Vector | None = None
        for each in self._clicks.get((tenant, session or ""), ()):
            if each.vector is not None:
                share = np.float32(each.weight * 0.5 ** (max(0, now_us - each.at_us) / HALF_LIFE_US))
                total = share * each.vector if total is None else total + share * each.vector
        norm = 0.0 if total is None else float(np.linalg.norm(total))
        return None if total is None or norm < 1e-6 else (total / np.float32(norm)).astype(np.float32)
