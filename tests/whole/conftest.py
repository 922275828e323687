"""One running product for these tests: the real command, on the embedded Apache Kafka."""

from collections.abc import Iterator

import pytest

from tests.running import Running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "running" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Started once; every test uses products and tenants of its own."""
    with Running(tmp_path_factory.mktemp("whole") / "data", FRESHLENS_QUALITY_WINDOW_S="5") as running:
        yield running
        assert running.stop() == 0
