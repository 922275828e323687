"""How often this process showed a product, and how often it was clicked on. Bounded; young products lose nothing."""

from collections import OrderedDict
from collections.abc import Iterable

PRODUCTS_MAX = 50_000
PRIOR_SHOWN = 20.0
"""A product counts as if it had been shown so often before, and clicked on at the tenant's mean rate."""
_MEAN = 0.05
"""Of a tenant nobody clicked for yet."""


class ClicksSeen:
    """Shown and clicked, by (tenant, product); and in all, by tenant."""

    def __init__(self, products_max: int = PRODUCTS_MAX) -> None:
        self._max = products_max
        self._counts: OrderedDict[tuple[str, str], list[int]] = OrderedDict()
        self._totals: dict[str, list[int]] = {}

    def shown(self, tenant: str, product_ids: Iterable[str]) -> None:
        """Note an answer."""
        for product_id in product_ids:
            self._of(tenant, product_id)[0] += 1
            self._totals.setdefault(tenant, [0, 0])[0] += 1

    def clicked(self, tenant: str, product_id: str) -> None:
        """Note a click. Of a product that was not shown here nothing is counted: it would seem all too popular."""
        counts = self._counts.get((tenant, product_id))
        if counts is not None and counts[1] < counts[0]:
            counts[1] += 1
            self._totals[tenant][1] += 1

    def rate(self, tenant: str, product_id: str) -> float:
        """0 to 1, drawn towards the tenant's mean: a new arrival has that mean, not zero."""
        shown, clicks = self._counts.get((tenant, product_id), (0, 0))
        all_shown, all_clicks = self._totals.get(tenant, (0, 0))
        mean = (all_clicks + PRIOR_SHOWN * _MEAN) / (all_shown + PRIOR_SHOWN)
        return (clicks + PRIOR_SHOWN * mean) / (shown + PRIOR_SHOWN)

    def times_shown(self, tenant: str, product_id: str) -> int:
        """How often this process showed it."""
        return self._counts.get((tenant, product_id), (0, 0))[0]

    def _of(self, tenant: str, product_id: str) -> list[int]:
        counts = self._counts.setdefault((tenant, product_id), [0, 0])
        self._counts.move_to_end((tenant, product_id))
        if len(self._counts) > self._max:
            self._counts.popitem(last=False)
        return counts
