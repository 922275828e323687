"""Topics of a test's own, and what came out on them."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import TopicPartition
from PIL import Image

from index_nodes.products.product import ProductState, fold
from processors import deleted
from processors.added import Incoming, ReadyView, index_record
from schemas import index_log
from schemas.embeddings import Space, normalise, to_fp16
from schemas.events import Content, DeadLetter, ProductAdded, ProductDeleted, ProductRetry, Source
from schemas.framing import DEAD_LETTERS, INDEX_LOG, PRODUCT_DELETED, PRODUCT_RETRY
from schemas.identity import ProductKey, partition_of
from schemas.index_log import IndexLogRecord
from schemas.layout import Layout
from schemas.tenants import TenantDeclaration
from schemas.versions import ResolvedVersion
from topics import administration, clients
from topics.producer import LastingProducer
from topics.settings import KafkaSettings

SPACE = Space("colour-1", 4)
WAIT_S = 240.0


def until(is_so: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


def picture(number: int) -> bytes:
    """A picture that looks like no other one."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (number * 4 % 256, number * 2 % 256, 255 - number)).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Bench:
    """Topics of the test's own, a data directory, and what came out so far."""

    kafka: KafkaSettings
    data: Path
    producer: LastingProducer
    records: list[IndexLogRecord] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    deletes: list[ProductDeleted] = field(default_factory=list)
    retries: list[ProductRetry] = field(default_factory=list)
    states: dict[str, ProductState] = field(default_factory=dict)
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._consumer = clients.consumer(self.kafka)
        names = ("index-log", "dead-letters", "product-deleted", "product-retry")
        self._topics = [self.kafka.topic(name) for name in names]
        self._positions: dict[tuple[str, int], int] = {}
        self._consumer.assign([TopicPartition(topic, number, 0) for topic in self._topics for number in range(8)])

    @property
    def environ(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.kafka.environment(),
            "FRESHLENS_SPACE": str(SPACE),
            "STUB_LOG": str(self.data / "encoded.log"),
        }

    def backfill(self, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "tests.integration.backfill.stub", "--data", str(self.data), "backfill"]
        process = subprocess.Popen(
            [*command, *arguments],
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def encoded(self) -> list[str]:
        log = self.data / "encoded.log"
        return log.read_text().split() if log.exists() else []

    def live_add(self, product_id: str, version: int, title: str) -> None:
        vector = to_fp16(normalise([1, 2, 3, 4], SPACE))
        key, source = ProductKey("default", product_id), Source("product-added", 0, 0, 0)
        event = ProductAdded("default", product_id, version, content=Content(title=title))
        incoming = Incoming(key, source, event, ResolvedVersion(version, 0))
        record = index_record(incoming, [ReadyView("vector", vector, vector)], space=SPACE, epoch=0, decode_version=1)
        assert record is not None
        self._write(record)

    def live_delete(self, product_id: str, version: int) -> None:
        raw = PRODUCT_DELETED.encode(ProductDeleted("default", product_id, version))
        now_ms = time.time_ns() // 1_000_000
        self._write(deleted.index_record(None, raw, Source("product-deleted", 0, 0, now_ms), TenantDeclaration))

    def _write(self, record: IndexLogRecord) -> None:
        partition = partition_of(record.key, Layout().partitions)
        topic = self.kafka.topic("index-log")
        self.producer.produce(topic, INDEX_LOG.encode(record), record.key.to_bytes(), partition)
        self.producer.flush()

    def read(self) -> None:
        for message in self._consumer.consume(500, 0.1):
            assert message.error() is None, message.error()
            topic, value, partition = message.topic(), message.value(), message.partition()
            assert isinstance(value, bytes)
            assert topic is not None
            assert partition is not None
            self._positions[topic, partition] = (message.offset() or 0) + 1
            if topic == self.kafka.topic("dead-letters"):
                self.letters.append(DEAD_LETTERS.decode(value, DeadLetter))
            elif topic == self.kafka.topic("product-deleted"):
                self.deletes.append(PRODUCT_DELETED.decode(value, ProductDeleted))
            elif topic == self.kafka.topic("product-retry"):
                self.retries.append(PRODUCT_RETRY.decode(value, ProductRetry))
            else:
                record = index_log.read(value, partition=partition, layout=Layout(), space=SPACE)
                assert isinstance(record, IndexLogRecord), record
                self.records.append(record)
                state = self.states.get(record.product_id, ProductState())
                self.states[record.product_id], _ = fold(state, record)

    def read_all(self) -> None:
        """Everything that was written before now."""
        client = clients.admin(self.kafka)
        for topic in self._topics:
            for partition, end in administration.end_offsets(client, topic).items():
                while self._positions.get((topic, partition), 0) < end:
                    self.read()

    def visible(self) -> set[str]:
        return {product_id for product_id, state in self.states.items() if state.is_visible}

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
        self._consumer.close()
