"""Apache Kafka for the tests: the embedded broker, or the one of KAFKA_BOOTSTRAP_SERVERS.

A broker that cannot start fails the tests; it never skips them.
"""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from freshlens.broker import EmbeddedBroker
from schemas.layout import Layout
from tests.integration.stream_bench import Bench
from topics import administration, clients
from topics.settings import KafkaSettings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "broker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)


@dataclass(frozen=True)
class Broker:
    """Where the tests' Kafka is."""

    address: str


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One Kafka for the whole session."""
    if servers := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield Broker(servers)
        return
    embedded = EmbeddedBroker(tmp_path_factory.mktemp("broker"), heap_mb=384)
    try:
        yield Broker(embedded.start())
    finally:
        embedded.stop()


@pytest.fixture
def kafka_settings(broker: Broker) -> Iterator[KafkaSettings]:
    """Settings with a prefix of the test's own, and all topics created under it; removed afterwards."""
    settings = KafkaSettings.from_env(
        {**os.environ, "FRESHLENS_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:12]}-"}, discovered=broker.address
    )
    client = clients.admin(settings)
    administration.create_topics(client, settings, Layout())
    yield settings
    for future in client.delete_topics(list(administration.declared_by_full_name(settings, Layout()))).values():
        future.exception()


@pytest.fixture
def admin(kafka_settings: KafkaSettings) -> AdminClient:
    """The admin client of the same cluster."""
    return clients.admin(kafka_settings)


@pytest.fixture
def bench(kafka_settings: KafkaSettings, tmp_path: Path) -> Iterator[Bench]:
    """Topics of the test's own, workers that it starts, and what comes out of them."""
    bench = Bench(kafka_settings, tmp_path / "data", clients.producer(kafka_settings))
    yield bench
    bench.close()
