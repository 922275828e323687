"""For all tests: how Hypothesis searches, and one running product."""

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.running import Running

# A busy machine must not fail a property for the time that one example took.
# Continuous integration tries the same examples every time; runs elsewhere look for new ones.
settings.register_profile("freshlens", deadline=None, print_blob=True, derandomize=os.environ.get("CI") == "true")
settings.load_profile("freshlens")


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One running product for the whole session; every test uses products and tenants of its own."""
    with Running(tmp_path_factory.mktemp("running") / "data", FRESHLENS_QUALITY_WINDOW_S="5") as running:
        yield running
        assert running.stop() == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "running" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)
    # Of tests with one id the processes run the first, and nobody would miss the others.
    if alike := [name for name, count in Counter(item.nodeid for item in items).items() if count > 1]:
        raise pytest.UsageError(f"several tests are called {', '.join(alike)}")
