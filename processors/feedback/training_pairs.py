"""Pairs of query and product to learn from, from what shoppers did with an answer. Pure."""

from collections.abc import Iterator

from processors.feedback.search_quality import Answered
from schemas.feedback import Click, TrainingPair

DWELL_MS_MIN = 5_000
PAIR_WEIGHTS = {"purchase": 5.0, "add_to_cart": 3.0, "click": 1.0}
"""Kinds that say "this was what I looked for", best first; a click only after :data:`DWELL_MS_MIN`."""
REJECTIONS = frozenset({"return", "not_relevant", "report"})
"""Kinds that take a pair away again."""


def training_pairs(answered: Answered) -> Iterator[TrainingPair]:
    """At most one pair for each product of the answer, with the kind of click that says most."""
    if answered.text is None and answered.embedding is None:
        return  # a filter or another product is no query to learn from
    for product_id, kinds in answered.clicks.items():
        best = None if REJECTIONS & kinds.keys() else _best(kinds)
        if best is not None:
            yield TrainingPair(
                query_id=answered.query_id,
                tenant=answered.tenant,
                product_id=product_id,
                kind=best.kind,
                position=answered.shown[product_id].position,
                weight=PAIR_WEIGHTS[best.kind],
                space=answered.space,
                clicked_at=best.clicked_at,
                text=answered.text,
                embedding=answered.embedding,
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
