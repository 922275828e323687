"""How a node reads its log: a record that comes alone at once, a stream in batches, and nothing twice or not at all."""

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from index_nodes.replicas import log as log_module
from index_nodes.replicas.log import BATCH_RECORDS_MAX, KafkaReader


class Message:
    """A record of partition 0."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def error(self) -> None:
        return None

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def value(self) -> bytes:
        return b""


class Consumer:
    """Records that have arrived. ``slept``: what the reader waited for, during which one more arrives each time."""

    def __init__(self) -> None:
        self.ready: deque[Message] = deque()
        self.now, self.slept, self.arrived = 100.0, [], 0  # type: ignore[var-annotated]

    def arrive(self, count: int = 1) -> None:
        for _ in range(count):
            self.ready.append(Message(self.arrived))
            self.arrived += 1

    def poll(self, _: float) -> Message | None:
        return self.ready.popleft() if self.ready else None

    def consume(self, most: int, timeout: float) -> list[Message]:
        assert timeout == 0
        return [self.ready.popleft() for _ in range(min(most, len(self.ready)))]

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.arrive()


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Consumer:
    made = Consumer()
    # the module's name for the clock, not the clock: other threads of the process go on sleeping by the real one
    monkeypatch.setattr(log_module, "time", SimpleNamespace(monotonic=lambda: made.now, sleep=made.sleep))
    return made


def offsets(reader: KafkaReader) -> list[int]:
    return [entry.offset for entry in reader.read(0.1).entries]


def reader_of(consumer: Any) -> KafkaReader:
    return KafkaReader(consumer)


def test_what_comes_alone_is_read_at_once(consumer: Consumer) -> None:
    reader = reader_of(consumer)
    for offset in range(3):
        consumer.now += 1.0
        consumer.arrive()
        assert offsets(reader) == [offset]
    assert consumer.slept == []


def test_what_comes_soon_after_is_gathered(consumer: Consumer) -> None:
    reader = reader_of(consumer)
    consumer.arrive()
    assert offsets(reader) == [0]
    consumer.now += 0.005
    consumer.arrive()
    assert offsets(reader) == [1, 2], "with what came while it waited"
    assert consumer.slept == [pytest.approx(0.045)]


def test_nothing_is_waited_for_where_nothing_came(consumer: Consumer) -> None:
    reader = reader_of(consumer)
    consumer.arrive()
    assert offsets(reader) == [0]
    assert offsets(reader) == []
    assert consumer.slept == []


def test_a_backlog_is_read_without_a_pause(consumer: Consumer) -> None:
    reader = reader_of(consumer)
    consumer.arrive(3 * BATCH_RECORDS_MAX)
    read = [offset for _ in range(3) for offset in offsets(reader)]
    assert read == list(range(3 * BATCH_RECORDS_MAX))
    assert consumer.slept == []
