"""Settings: every problem at once, and defaults that work."""

import pytest

from index_nodes.settings import CompactorSettings, NodeSettings
from schemas.errors import SettingsError

ENVIRON = {"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092", "FRESHLENS_SPACE": "bundled:256", "FRESHLENS_DATA": "/data"}


def test_defaults() -> None:
    node = NodeSettings.from_env(ENVIRON)
    assert (node.store, node.shard, node.node_id, node.host) == ("file:///data/store", 0, "node-0-0", "127.0.0.1")
    compactor = CompactorSettings.from_env(ENVIRON)
    assert (compactor.at, compactor.records_max, compactor.store) == ("03:00", 50_000, "file:///data/store")


def test_never_means_no_schedule() -> None:
    assert CompactorSettings.from_env({**ENVIRON, "FRESHLENS_COMPACT_AT": "never"}).at is None


def test_all_problems_of_a_node_are_listed() -> None:
    environ = {
        "FRESHLENS_SPACE": "no dimension",
        "FRESHLENS_SHARD": "two",
        "FRESHLENS_NODE_ID": "a b",
        "FRESHLENS_HEADS_POLL_S": "0",
    }
    with pytest.raises(SettingsError) as caught:
        NodeSettings.from_env(environ)
    said = "; ".join(caught.value.problems)
    for name in ("KAFKA_BOOTSTRAP_SERVERS", *environ):
        assert name in said


def test_a_shard_beyond_the_layout_is_refused() -> None:
    with pytest.raises(SettingsError, match="FRESHLENS_SHARD=1"):
        NodeSettings.from_env({**ENVIRON, "FRESHLENS_SHARD": "1"})


@pytest.mark.parametrize(("name", "value"), [("AT", "25:00"), ("RECORDS", "0"), ("LOG_BYTES", "many")])
def test_problems_of_a_compactor(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"FRESHLENS_COMPACT_{name}"):
        CompactorSettings.from_env({**ENVIRON, f"FRESHLENS_COMPACT_{name}": value})


def test_a_shard_is_not_blamed_for_a_lane_that_is_wrong() -> None:
    with pytest.raises(SettingsError) as caught:
        NodeSettings.from_env({**ENVIRON, "FRESHLENS_SPACE": "", "FRESHLENS_SHARD": "1023"})
    assert len(caught.value.problems) == 1
    assert "FRESHLENS_SPACE" in caught.value.problems[0]
