"""The watch over sources on a real Kafka: one that goes bad is held, nothing of it is lost, and it is let through."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from freshlens.cli import cli
from schemas.events import Content, Picture, ProductAdded, ProductDeleted
from schemas.framing import PRODUCT_DELETED
from schemas.lane import Lane
from schemas.layout import Layout
from schemas.metrics import RecordingMetrics
from streams.settings import StreamsSettings
from streams.watch import watcher as watch
from streams.watch.holds import Holds
from streams.watch.settings import WatchSettings
from streams.watch.watcher import Watcher, read_report
from tests.integration.stream_bench import SPACE, Bench, until, vectors_only
from topics.store import FileStore

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


def settings_of(bench: Bench) -> StreamsSettings:
    store = (bench.data / "store").as_uri()
    lane = Lane("main", SPACE, Layout())
    return StreamsSettings(bench.kafka, lane, bench.data, store, watch=WatchSettings(200_000, is_holding=True))


def broken(product_id: str) -> ProductAdded:
    return ProductAdded("shop", product_id, content=Content(pictures=(Picture(inline=b"no picture"),)))


def freshlens(bench: Bench, *arguments: str) -> str:
    environ = {**bench.kafka.environment(), "FRESHLENS_STORE": (bench.data / "store").as_uri()}
    outcome = CliRunner().invoke(cli, ["--data", str(bench.data), *arguments], env=environ, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def until_normal(bench: Bench, store: FileStore) -> None:
    """Publish what is good until the watch knows what is normal."""
    sent = 0

    def has_norm() -> bool:
        nonlocal sent
        report = read_report(store, "main")
        shop = next((source for source in report.sources if source.source == "shop"), None) if report else None
        if shop is not None and shop.measures and shop.measures["refused"].norm is not None:
            return True
        bench.add(vectors_only(f"good-{sent}"))
        sent += 1
        bench.indexed()
        return False

    until(has_norm, "a norm")


def test_a_source_that_goes_bad_is_held_and_let_through_without_loss(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.1)
    store, metrics = FileStore(tmp_path / "data" / "store"), RecordingMetrics()
    bench.start()
    watcher = Watcher(settings_of(bench), metrics)
    until_normal(bench, store)
    for number in range(60):
        bench.add(broken(f"bad-{number}"))
    until(lambda: Holds(store).of("shop") is not None, "the hold")
    assert metrics.values["freshlens_watch_alerts_total", (("measure", "refused"),)] >= 1
    held = [f"held-{number}" for number in range(20)]
    until(lambda: bool(bench.add(vectors_only("probe"))) or "source-held" in bench.codes(), "the worker follows")
    for product in held:
        bench.add(vectors_only(product))
    bench.send("product-deleted", PRODUCT_DELETED.encode(ProductDeleted("shop", "held-0")), b"shop/held-0")
    until(lambda: {letter.key for letter in bench.letters if letter.code == "source-held"} >= keys(held, bench), "all")
    assert not bench.indexed() & set(held)
    assert "held since" in freshlens(bench, "watch")
    assert "0 refused" in freshlens(bench, "watch", "release", "shop")
    bench.until_indexed(*held)
    versions = {letter.key: letter.version for letter in bench.letters if letter.code == "source-held"}
    assert bench.record("held-3").content.rank.version == versions[b"shop/held-3"]  # type: ignore[union-attr]
    watcher.close()
    restarted = Watcher(settings_of(bench), metrics)
    until(lambda: bool((report := read_report(store, "main")) and report.sources), "what it knew")
    restarted.close()


def keys(products: list[str], bench: Bench) -> set[bytes]:
    bench.read()
    return {f"shop/{product}".encode() for product in products}
