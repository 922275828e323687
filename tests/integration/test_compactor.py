"""The compactor's process on real Kafka: it compacts what has grown, is killed in the middle of it, and tidies up."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from index_nodes.compaction.compaction import compact_once
from index_nodes.compaction.inventory import read_inventory
from index_nodes.compaction.publication import roll_back
from index_nodes.compaction.retention import RetentionPlan, collect
from index_nodes.generations.heads import head_numbers, read_head
from index_nodes.replicas.log import KafkaLog
from index_nodes.settings import RetentionPolicy
from index_nodes.states import GenerationState
from index_nodes.status import read_statuses
from schemas.clock import ManualClock
from schemas.errors import ManifestCorrupt
from schemas.metrics import NullMetrics
from tests.integration.test_node import LANE, Publisher
from tests.unit.index_nodes import records
from tests.unit.index_nodes.replicas import restored
from topics.settings import KafkaSettings
from topics.store import FileStore

HOUR_US = 3_600_000_000
COMPACTOR = "from freshlens.cli import main; import sys; sys.argv = ['freshlens', 'serve', 'compactor']; main()"
STALLING = f"""
import time
from topics.store import FileStore
put_file = FileStore.put_file
def stall(self, key, source):
    put_file(self, key, source)
    time.sleep(600)
FileStore.put_file = stall
{COMPACTOR}
"""
"""A compactor that hangs when the first file of a build is in the store."""


@contextlib.contextmanager
def compactor(settings: KafkaSettings, folder: Path, script: str = COMPACTOR) -> "Iterator[subprocess.Popen[bytes]]":
    """The process, killed at the end; it compacts after ten records."""
    environ = {
        **os.environ,
        **settings.environment(),
        "FRESHLENS_SPACE": str(LANE.space),
        "FRESHLENS_STORE": str(folder),
        "FRESHLENS_COMPACT_AT": "never",
        "FRESHLENS_COMPACT_RECORDS": "10",
        "FRESHLENS_COMPACT_POLL_S": "0.2",
    }
    process = subprocess.Popen([sys.executable, "-c", script], env=environ, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until(is_true: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert process.poll() is None, "the compactor has ended"
        assert time.monotonic() < deadline
        time.sleep(0.1)


def publish(settings: KafkaSettings, first: int, count: int) -> None:
    Publisher(settings).send(*(records.content(f"p{n}", 1, [records.picture(n)]) for n in range(first, first + count)))


def test_killed_in_the_middle_it_completes_and_the_rest_is_collected(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    store, log = FileStore(tmp_path), KafkaLog(kafka_settings)
    now_us = time.time_ns() // 1000

    def collected(hours: int) -> RetentionPlan:
        statuses = read_statuses(kafka_settings).values()
        clock = ManualClock(now_us + hours * HOUR_US)
        return collect(log, store, LANE, 0, statuses, RetentionPolicy(), NullMetrics(), clock)

    publish(kafka_settings, 0, 20)
    with compactor(kafka_settings, tmp_path, STALLING) as process:
        wait_until(lambda: bool(store.list("builds/0")), process)
    assert head_numbers(store, LANE, 0) == []
    (left,) = read_inventory(store, LANE, 0).builds

    with compactor(kafka_settings, tmp_path) as process:
        wait_until(lambda: head_numbers(store, LANE, 0) == [1], process)
        publish(kafka_settings, 20, 20)
        wait_until(lambda: head_numbers(store, LANE, 0) == [1, 2], process)
        process.terminate()
        assert process.wait(30) == 0
    inventory = read_inventory(store, LANE, 0)
    assert "records since" in inventory.heads[0].reason
    assert inventory.state_of(left) is GenerationState.BUILDING

    assert collected(23).delete_builds == ()
    assert collected(26).delete_builds == (left,)
    assert collected(26).delete_builds == ()
    assert head_numbers(store, LANE, 0) == [1, 2]

    publish(kafka_settings, 40, 5)
    compact_once(log, store, LANE, 0)
    floor = read_head(store, LANE, 0, 2).next_offsets
    assert collected(80).delete_heads == (1,)
    assert len(collected(80).delete_builds) == 1, "the build and the log go a round after the head"
    assert {str(partition): offset for partition, offset in log.bounds().begin.items()} == floor
    with pytest.raises(ManifestCorrupt, match="there is no head 1"):
        roll_back(log, store, LANE, 0, 1)
    roll_back(log, store, LANE, 0, 2)
    everything(log, store, 45)


def everything(log: KafkaLog, store: FileStore, products: int) -> None:
    replica = restored(log, store, LANE)
    assert replica.view.products == products
    replica.close()
