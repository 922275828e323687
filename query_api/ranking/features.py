"""Features of a candidate for the learned stage. One function: what a model is trained on is what it is served."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from query_api.ranking.clicks_seen import ClicksSeen
from query_api.ranking.linear import ages_us, attribute_match, fresh, personal
from query_api.ranking.ranked import Ranked
from query_api.ranking.settings import DAY_US
from query_api.ranking.stages import Asked

FEATURES = (
    "similarity",
    "below_best",
    "attributes",
    "personal",
    "fresh",
    "age_days",
    "price",
    "in_stock",
    "stock",
    "has_picture",
    "click_rate",
    "times_shown",
    "by_image",
    "by_text",
)
"""Names, in order. A change of meaning needs a new name, or an old model would be served what it never saw."""

Features = npt.NDArray[np.float32]


def features(pool: Sequence[Ranked], asked: Asked, seen: ClicksSeen, best: float) -> Features:
    """(n, len(FEATURES)) float32; NaN for what is not known, which trees learn to handle.

    Args:
        best: the greatest similarity retrieved.
    """
    hits = [ranked.hit for ranked in pool]
    similarity = np.array([hit.similarity for hit in hits], np.float64)
    columns = (
        similarity,
        min(best, 1.0) - similarity,
        attribute_match(pool, asked),
        personal(pool, asked),
        fresh(pool, asked),
        ages_us(pool, asked.now_us) / DAY_US,
        np.array([np.nan if hit.price is None else hit.price for hit in hits]),
        np.array([hit.in_stock for hit in hits], np.float64),
        np.array([np.nan if hit.stock is None else hit.stock for hit in hits], np.float64),
        np.array([hit.content_hash is not None for hit in hits], np.float64),
        np.array([seen.rate(asked.tenant, hit.product_id) for hit in hits]),
        np.log1p([seen.times_shown(asked.tenant, hit.product_id) for hit in hits]),
        np.full(len(hits), float("image" in asked.modality)),
        np.full(len(hits), float("text" in asked.modality)),
    )
    return np.column_stack(columns).astype(np.float32)
