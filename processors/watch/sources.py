"""The watch over sources: what each sends, window by window, and whether that is like it. Pure; ``now`` is passed in.

A source is a tenant, or one feed of a tenant: an event whose attributes have a string ``source`` is of the source
``tenant/that``. What an event does not say of itself is not guessed, so an event without it is of the tenant.
"""

from collections.abc import Iterator, Mapping

import msgspec
import numpy as np

from processors.watch.prices import Prices
from processors.watch.recent import Recent
from processors.watch.window import Norm, Spike, Window, spikes, values
from schemas.events import Content, Offer
from schemas.hashing import content_hash
from schemas.index_log import IndexedContent, IndexedOffer, IndexLogRecord

SOURCE_ATTRIBUTE = "source"
CATEGORY_ATTRIBUTE = "category"
FEED_CHARS_MAX = 100
SOURCES_MAX = 1_000
CATEGORIES_MAX = 5_000
PRODUCTS_MAX = 50_000
WINDOW_EVENTS_MIN = 50
"""A window is as long as it takes to see so many events, so that slow sources have a norm too."""
DISAGREES_BELOW = 0.0
"""Less agreement than this: the picture fits a stranger's text better than its own."""


class SourceState(msgspec.Struct):
    """One source: its open window, its norm, and what is alarming in this window."""

    window: Window
    norm: Norm = msgspec.field(default_factory=Norm)
    alerts: dict[str, Spike] = {}


class Alert(msgspec.Struct, frozen=True):
    """A spike that was not there before in this window."""

    source: str
    spike: Spike


def source_of(tenant: str, *groups: Content | Offer | IndexedContent | IndexedOffer | None) -> str:
    """The source of an event, from its tenant and the attributes of its groups."""
    for group in groups:
        named = group.attributes.get(SOURCE_ATTRIBUTE) if group is not None else None
        if isinstance(named, str) and named:
            return f"{tenant}/{named[:FEED_CHARS_MAX]}"
    return tenant


class Watch:
    """Every source that was seen lately. Feed it records, close windows now and then, and ask what is alarming."""

    def __init__(self, window_us: int) -> None:
        assert window_us >= 1, window_us
        self._window_us = window_us
        self.sources: Recent[str, SourceState] = Recent(SOURCES_MAX)
        self.prices: Recent[str, Prices] = Recent(CATEGORIES_MAX)
        self.groups: Recent[bytes, bytes] = Recent(PRODUCTS_MAX)
        self.categories: Recent[bytes, str] = Recent(PRODUCTS_MAX)

    def indexed(self, record: IndexLogRecord, now_us: int) -> None:
        """A record of index-log; deletions say nothing about quality."""
        content, offer = record.content, record.offer
        if content is None and offer is None:
            return
        source = source_of(record.tenant, content, offer)
        product = content_hash(record.key.to_bytes())
        window = self._event(source, now_us)
        window.count("refused", False)
        if content is not None:
            self._content(window, source, product, content)
            window.count("no-price", offer is None or offer.price is None)
        if offer is not None and offer.price is not None:
            self._price(window, source, product, offer)

    def refused(self, source: str, now_us: int) -> None:
        """An event of this source that became a dead letter by its own fault."""
        self._event(source, now_us).count("refused", True)

    def alarms(self, now_us: int) -> Iterator[Alert]:
        """Close the windows that are over, and name every spike once per window."""
        for name, state in list(self.sources.items()):
            for spike in spikes(state.window, state.norm):
                if spike.measure not in state.alerts:
                    yield Alert(name, spike)
                state.alerts[spike.measure] = spike
            if now_us - state.window.began >= self._window_us and state.window.events >= WINDOW_EVENTS_MIN:
                state.norm = state.norm.after(state.window)
                state.window, state.alerts = Window(now_us), {}

    def _event(self, source: str, now_us: int) -> Window:
        state = self.sources.get(source)
        if state is None:
            state = SourceState(Window(now_us))
        self.sources[source] = state
        state.window.events += 1
        return state.window

    def _content(self, window: Window, source: str, product: bytes, content: IndexedContent) -> None:
        category = content.attributes.get(CATEGORY_ATTRIBUTE)
        has_category = isinstance(category, str) and bool(category)
        if has_category:
            self.categories[product] = str(category)
        window.count("no-title", not content.title)
        window.count("no-category", not has_category)
        window.count("no-picture", all(view.content_hash is None for view in content.views))
        window.count("flagged", any(view.flags for view in content.views))
        window.count("duplicate", self._is_duplicate(source, product, content.dup_group))
        if content.agreement is not None:
            window.count("disagreeing", content.agreement < DISAGREES_BELOW)
        if content.views:
            window.add_vector(np.frombuffer(content.views[0].vector, dtype="<f2").astype(np.float64))

    def _is_duplicate(self, source: str, product: bytes, group: bytes) -> bool:
        if not group:
            return False
        key = content_hash(source.encode() + b"\0" + group)
        known = self.groups.get(key)
        self.groups[key] = product if known is None else known
        return known is not None and known != product

    def _price(self, window: Window, source: str, product: bytes, offer: IndexedOffer) -> None:
        assert offer.price is not None
        category = f"{source}\0{self.categories.get(product, '')}\0{offer.currency or ''}"
        prices = self.prices.get(category, Prices())
        self.prices[category] = prices
        window.count("price-outlier", prices.is_outlier(offer.price))


class _Kept(msgspec.Struct):
    """What :func:`kept` writes."""

    sources: dict[str, SourceState]
    prices: dict[str, Prices]
    groups: dict[bytes, bytes]
    categories: dict[bytes, str]
    positions: dict[str, dict[int, int]]


def kept(watch: Watch, positions: Mapping[str, Mapping[int, int]]) -> bytes:
    """All of the watch, and how far it has read, for a later :func:`restored`."""
    state = _Kept(
        sources=dict(watch.sources),
        prices=dict(watch.prices),
        groups=dict(watch.groups),
        categories=dict(watch.categories),
        positions={topic: dict(offsets) for topic, offsets in positions.items()},
    )
    return msgspec.msgpack.encode(state, enc_hook=lambda array: array.tobytes())


def restored(raw: bytes, window_us: int) -> tuple[Watch, dict[str, dict[int, int]]]:
    """A watch as it was, and how far it had read; raises ValueError for anything else."""
    state = msgspec.msgpack.decode(raw, type=_Kept, dec_hook=lambda _, raw: np.frombuffer(raw, dtype=np.float64))
    watch = Watch(window_us)
    for name, known in state.sources.items():
        watch.sources[name] = known
    watch.prices.update(state.prices)
    watch.groups.update(state.groups)
    watch.categories.update(state.categories)
    return watch, state.positions


class Shown(msgspec.Struct, frozen=True):
    """One measure of one source, for people: now, normally, and whether that is alarming."""

    value: float
    norm: float | None
    bad: int
    of: int
    alarming: bool


def shown(state: SourceState) -> dict[str, Shown]:
    """Every measure of the open window."""
    return {
        measure: Shown(value, state.norm.of(measure), tally.bad, tally.of, measure in state.alerts)
        for measure, (value, tally) in sorted(values(state.window, state.norm).items())
    }
