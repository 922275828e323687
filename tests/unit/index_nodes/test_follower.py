"""The threads of a node: a new generation takes over, and what the one before held is let go and given back."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from index_nodes.replicas import follower as follower_module
from index_nodes.replicas.follower import Follower
from index_nodes.settings import NodeSettings
from schemas.metrics import RecordingMetrics
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index
from topics.settings import KafkaSettings

PATIENCE_S = 30.0


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def given_back(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(follower_module, "give_back", lambda: calls.append(threading.current_thread().name))
    return calls


@pytest.fixture
def following(index: Index, given_back: list[str]) -> Iterator[Follower]:
    settings = NodeSettings(KafkaSettings("kafka:9092"), index.lane, "/nowhere", node_id="n0", heads_poll_s=0.01)
    made = Follower(settings, index.log, index.store, RecordingMetrics(), lambda: None)
    made.start()
    until(lambda: made.answering is not None)
    yield made
    made.drain()
    made.stop()


def test_after_a_swap_memory_is_given_back_once_and_nothing_of_the_old_replica_is_left(
    index: Index, following: Follower, given_back: list[str]
) -> None:
    until(lambda: len(given_back) == 1)  # what loading took
    index.apply(records.content("p", 1, [records.picture(1)]))
    until(lambda: following.replica is not None and following.replica.view.products == 1)
    old = weakref.ref(following.replica)
    index.compact()
    gc.disable()
    try:
        until(lambda: len(given_back) == 2 and old() is None)
    finally:
        gc.enable()
    until(lambda: following.replica is not None and following.replica.seq == 1)
    time.sleep(0.1)  # some more looks at the store
    assert given_back == ["head-watcher"] * 2
