"""The watch over sources: what it counts, when it is alarmed, what it remembers."""

import random

import numpy as np
import pytest

from processors.watch.prices import PRICES_MAX, Prices, middle_and_spread
from processors.watch.recent import Recent
from processors.watch.sources import Watch, kept, restored, shown, source_of
from processors.watch.window import NORM_WINDOWS_MAX, Norm, Tally, Window, spikes
from schemas.events import Content, Offer, Source
from schemas.index_log import IndexedContent, IndexedOffer, IndexedView, IndexLogRecord
from schemas.join import Rank

WINDOW_US = 1_000_000
DIM = 8


def unit(vector: "list[float] | np.ndarray") -> bytes:
    array = np.asarray(vector, dtype=np.float64)
    return (array / np.linalg.norm(array)).astype("<f2").tobytes()


def record(
    number: int,
    *,
    tenant: str = "shop",
    attributes: dict | None = None,
    title: str | None = "A mug",
    price: float | None = 10.0,
    flags: tuple[str, ...] = (),
    group: bytes | None = None,
    vector: bytes | None = None,
    agreement: float | None = None,
    with_content: bool = True,
) -> IndexLogRecord:
    rank = Rank(1)
    view = IndexedView(b"h", "image", vector or unit([1.0] * DIM), content_hash=b"c", flags=flags)
    attributes = {"category": "mugs"} if attributes is None else attributes
    dup_group = group if group is not None else number.to_bytes(8)
    content = IndexedContent(rank, "s", title, None, attributes, (view,), dup_group, agreement)
    offer = None if price is None else IndexedOffer(rank, price, "EUR", None, None, {})
    source = Source("product-added", 0, number, 0)
    return IndexLogRecord(tenant, f"p{number}", source, content if with_content else None, offer)


def fed(watch: Watch, windows: int, events: int = 100, **fields: object) -> int:
    """So many ordinary windows; returns the time afterwards."""
    now = 0
    for _ in range(windows):
        for number in range(events):
            watch.indexed(record(number, **fields), now)  # type: ignore[arg-type]
        now += WINDOW_US
        assert list(watch.alarms(now)) == []
    return now


def test_the_source_is_the_tenant_or_the_feed_that_names_itself() -> None:
    named = Content(attributes={"source": "importer-2"})
    assert source_of("shop", None, None) == "shop"
    assert source_of("shop", named, None) == "shop/importer-2"
    assert source_of("shop", None, Offer(attributes={"source": "prices"})) == "shop/prices"
    assert source_of("shop", Content(attributes={"source": 3}), None) == "shop"
    assert len(source_of("shop", Content(attributes={"source": "x" * 500}), None)) == 105


@pytest.mark.parametrize(
    ("measure", "bad"),
    [
        ("flagged", {"flags": ("blank",)}),
        ("no-title", {"title": None}),
        ("no-category", {"attributes": {}}),
        ("no-price", {"price": None}),
        ("duplicate", {"group": b"the same"}),
        ("disagreeing", {"agreement": -0.5}),
    ],
)
def test_a_spike_of_each_kind_is_told_once_a_window(measure: str, bad: dict) -> None:
    watch = Watch(WINDOW_US)
    now = fed(watch, 5, agreement=0.5)
    for number in range(1_000, 1_040):
        watch.indexed(record(number, **bad), now)
    assert measure in {alert.spike.measure for alert in watch.alarms(now)}
    assert list(watch.alarms(now)) == []
    assert shown(watch.sources["shop"])[measure].alarming


def test_refusals_are_counted_beside_what_was_indexed() -> None:
    watch = Watch(WINDOW_US)
    now = fed(watch, 5)
    for number in range(60):
        watch.indexed(record(number), now)
    for _ in range(20):
        watch.refused("shop", now)
    (alert,) = watch.alarms(now)
    assert (alert.source, alert.spike.measure, alert.spike.bad, alert.spike.of) == ("shop", "refused", 20, 80)


def test_a_few_bad_events_and_a_source_without_a_norm_are_no_spike() -> None:
    watch = Watch(WINDOW_US)
    for _ in range(200):
        watch.refused("new", 0)
    now = fed(watch, 5)
    for _ in range(19):
        watch.refused("shop", now)
    assert list(watch.alarms(now)) == []


def test_what_is_always_so_is_normal_until_it_is_all_there_is() -> None:
    watch = Watch(WINDOW_US)
    now = 0
    for _ in range(5):
        for number in range(100):
            watch.indexed(record(number, title=None if number % 2 else "A mug"), now)
        now += WINDOW_US
        assert list(watch.alarms(now)) == []
    for number in range(100):
        watch.indexed(record(number, title=None if number % 4 else "A mug"), now)
    assert list(watch.alarms(now)) == []
    for number in range(600):
        watch.indexed(record(number, title=None), now)
    assert [alert.spike.measure for alert in watch.alarms(now)] == ["no-title"]


def test_one_source_does_not_hide_in_another() -> None:
    watch = Watch(WINDOW_US)
    now = fed(watch, 5)
    for number in range(1_000):
        watch.indexed(record(number, attributes={"category": "mugs", "source": "good"}), now)
    for _ in range(30):
        watch.refused("shop", now)
    assert {alert.source for alert in watch.alarms(now)} == {"shop"}


def test_the_same_product_again_is_no_duplicate() -> None:
    watch = Watch(WINDOW_US)
    for _ in range(3):
        watch.indexed(record(1, group=b"g"), 0)
    watch.indexed(record(2, group=b"g"), 0)
    tally = watch.sources["shop"].window.tallies["duplicate"]
    assert (tally.bad, tally.of) == (1, 4)


def test_a_price_change_is_measured_against_its_category() -> None:
    watch, rng = Watch(WINDOW_US), random.Random(1)
    for number in range(200):
        watch.indexed(record(number, price=rng.uniform(5, 20)), 0)
        watch.indexed(record(number + 1_000, attributes={"category": "sofas"}, price=rng.uniform(500, 2_000)), 0)
    before = watch.sources["shop"].window.tallies["price-outlier"].bad
    watch.indexed(record(1_001, price=990.0, with_content=False), 0)
    assert watch.sources["shop"].window.tallies["price-outlier"].bad == before
    watch.indexed(record(1, price=990.0, with_content=False), 0)
    assert watch.sources["shop"].window.tallies["price-outlier"].bad == before + 1


def test_a_price_that_came_to_stay_becomes_normal() -> None:
    prices, rng = Prices(), random.Random(2)
    assert not any(prices.is_outlier(rng.uniform(8, 12)) for _ in range(PRICES_MAX))
    assert prices.is_outlier(1_000.0)
    found = [prices.is_outlier(rng.uniform(800, 1_200)) for _ in range(2 * PRICES_MAX)]
    assert all(found[:100])
    assert not any(found[-100:])


def test_the_spread_is_robust() -> None:
    middle, spread = middle_and_spread([1.0, 1.1, 0.9, 1.0, 50.0])
    assert middle == 1.0
    assert spread < 0.5


def test_vectors_that_moved_are_told_and_chance_is_not() -> None:
    watch, rng = Watch(WINDOW_US), np.random.default_rng(3)
    now = 0
    for _ in range(8):
        for number in range(60):
            vector = unit(np.array([1.0] * DIM) + rng.normal(0, 1.0, DIM))
            watch.indexed(record(number, vector=vector), now)
        now += WINDOW_US
        assert list(watch.alarms(now)) == []
    for number in range(60):
        vector = unit(np.array([-1.0] + [1.0] * (DIM - 1)) * 2 + rng.normal(0, 1.0, DIM))
        watch.indexed(record(number, vector=vector), now)
    assert [alert.spike.measure for alert in watch.alarms(now)] == ["shift"]


def test_a_window_stays_open_until_it_has_seen_enough() -> None:
    watch = Watch(WINDOW_US)
    watch.indexed(record(1), 0)
    assert list(watch.alarms(10 * WINDOW_US)) == []
    assert watch.sources["shop"].window.events == 1
    for number in range(60):
        watch.indexed(record(number), 10 * WINDOW_US)
    assert list(watch.alarms(10 * WINDOW_US)) == []
    assert watch.sources["shop"].window.events == 0


def test_a_lasting_change_becomes_the_norm() -> None:
    watch = Watch(WINDOW_US)
    now = fed(watch, NORM_WINDOWS_MAX)
    alarms = []
    for _ in range(NORM_WINDOWS_MAX):
        for number in range(100):
            watch.indexed(record(number, title=None), now)
        now += WINDOW_US
        alarms.append(len(list(watch.alarms(now))))
    assert alarms[0] == 1
    assert alarms[-1] == 0


def test_what_is_kept_is_restored_whole() -> None:
    watch = Watch(WINDOW_US)
    now = fed(watch, 4, agreement=0.1)
    watch.indexed(record(5_000), now)
    again, positions = restored(kept(watch, {"log": {0: 7, 3: 9}}), WINDOW_US)
    assert positions == {"log": {0: 7, 3: 9}}
    for each in (watch, again):
        for number in range(30):
            each.indexed(record(number, title=None), now)
        each.indexed(record(6_000, group=(5_000).to_bytes(8)), now)
    assert [*again.alarms(now)] == [*watch.alarms(now)] != []
    assert kept(again, {}) == kept(watch, {})


@pytest.mark.parametrize("raw", [b"", b"garbage", b"\x80", b"\x81\xa7sources\x01"])
def test_what_cannot_be_restored_says_so(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # msgspec's errors are several kinds of it
        restored(raw, WINDOW_US)


def test_memory_is_bounded() -> None:
    recent: Recent[int, int] = Recent(3)
    for number in range(10):
        recent[number] = number
    recent[8] = 80
    recent[10] = 10
    assert dict(recent) == {9: 9, 8: 80, 10: 10}


def test_a_norm_needs_windows() -> None:
    bad = Window(0, 100, {"refused": Tally(100, 100)})
    assert spikes(bad, Norm()) == []
    assert spikes(bad, Norm({"refused": [0.0, 0.0]})) == []
    assert [spike.measure for spike in spikes(bad, Norm({"refused": [0.0, 0.0, 0.0]}))] == ["refused"]
