"""A bench per test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.backfill.bench import Bench
from topics import clients
from topics.settings import KafkaSettings


@pytest.fixture
def bench(kafka_settings: KafkaSettings, tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "data").mkdir()
    bench = Bench(kafka_settings, tmp_path / "data", clients.producer(kafka_settings))
    yield bench
    bench.close()
