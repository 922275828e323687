"""Faults are injected into a product of the test's own."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/fault" in str(item.path):
            item.add_marker(pytest.mark.kafka)
