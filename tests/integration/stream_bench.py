"""Workers on a real Kafka, with a stand-in for the model, and what came out of them."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import TopicPartition
from PIL import Image

from schemas import index_log
from schemas.embeddings import Space
from schemas.events import Content, DeadLetter, GivenVector, Picture, ProductAdded
from schemas.framing import DEAD_LETTERS, INDEX_PROGRESS, PRODUCT_ADDED
from schemas.index_log import IndexLogRecord
from schemas.layout import Layout
from schemas.progress import ProgressFact
from topics import clients
from topics.producer import LastingProducer
from topics.settings import KafkaSettings

SPACE = Space("colour-1", 4)
VECTOR = GivenVector("", (1.0, 2.0, 3.0, 4.0))
STUB = Path(__file__).with_name("stub_embed.py")
WAIT_S = 60.0


def jpeg(colour: str = "red", side: int = 64, comment: str = "") -> bytes:
    """A picture of one colour; pictures with different comments have different bytes."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "JPEG", comment=comment.encode())
    return buffer.getvalue()


def until(is_so: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


@dataclass
class Worker:
    """A worker process."""

    process: subprocess.Popen[bytes]
    output: Path
    """All that it printed; a pipe that nobody reads would stop it once it is full."""

    @staticmethod
    def launch(bench: "Bench", role: str = "embed", slot: int = 0, **environ: str) -> "Worker":
        """Start one, and do not wait until it is ready."""
        values = {
            **os.environ,
            **bench.kafka.environment(),
            "FRESHLENS_DATA": str(bench.data),
            "FRESHLENS_SPACE": str(SPACE),
            "FRESHLENS_WORKER_SLOT": str(slot),
            "FRESHLENS_FETCH_PRIVATE": "1",
            **environ,
        }
        output = bench.data.with_name(f"worker-{len(bench.workers)}.txt")
        with output.open("wb") as file:
            process = subprocess.Popen([sys.executable, str(STUB), role], env=values, stdout=file)
        worker = Worker(process, output)
        bench.workers.append(worker)
        return worker

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> str:
        """Clean stop; returns what it printed (its metrics at the end)."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        assert self.process.returncode == 0
        return self.output.read_text()


@dataclass
class Bench:
    """Topics of the test's own, its data directory, and what came out so far."""

    kafka: KafkaSettings
    data: Path
    producer: LastingProducer
    workers: list[Worker] = field(default_factory=list)
    records: list[IndexLogRecord] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    facts: list[ProgressFact] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._consumer = clients.consumer(self.kafka)
        self._consumer.assign(
            [
                *(TopicPartition(self.kafka.topic("index-log"), partition, 0) for partition in range(8)),
                *(TopicPartition(self.kafka.topic("dead-letters"), partition, 0) for partition in range(8)),
                TopicPartition(self.kafka.topic("index-progress"), 0, 0),
            ]
        )

    def start(self, role: str = "embed", slot: int = 0, **environ: str) -> Worker:
        worker = Worker.launch(self, role, slot, **environ)
        while "READY\n" not in worker.output.read_text():
            assert worker.process.poll() is None, f"it ended with {worker.process.wait()} before it was ready"
            time.sleep(0.02)
        return worker

    def add(self, event: ProductAdded, partition: int = -1) -> None:
        key = f"{event.tenant}/{event.product_id}".encode()
        self.send("product-added", PRODUCT_ADDED.encode(event), key, partition)

    def send(self, topic: str, value: bytes | None, key: bytes | None = None, partition: int = -1) -> None:
        self.producer.produce(self.kafka.topic(topic), value, key, partition)
        self.producer.poll(0)

    def read(self, wait_s: float = 0.05) -> None:
        for message in self._consumer.consume(500, wait_s):
            assert message.error() is None, message.error()
            topic, value = message.topic(), message.value()
            assert isinstance(value, bytes)
            if topic == self.kafka.topic("index-log"):
                partition = message.partition()
                assert partition is not None
                record = index_log.read(value, partition=partition, layout=Layout(), space=SPACE)
                assert isinstance(record, IndexLogRecord), record
                self.records.append(record)
            elif topic == self.kafka.topic("dead-letters"):
                self.letters.append(DEAD_LETTERS.decode(value, DeadLetter))
            else:
                self.facts.append(INDEX_PROGRESS.decode(value, ProgressFact))

    def indexed(self) -> set[str]:
        self.read()
        return {record.product_id for record in self.records}

    def codes(self) -> list[str]:
        self.read()
        return sorted(letter.code for letter in self.letters)

    def until_indexed(self, *products: str) -> None:
        wanted = set(products)
        deadline = time.monotonic() + WAIT_S
        while missing := wanted - self.indexed():
            assert time.monotonic() < deadline, f"not on index-log: {sorted(missing)[:10]}, dead: {self.codes()[:10]}"

    def record(self, product_id: str) -> IndexLogRecord:
        return next(record for record in reversed(self.records) if record.product_id == product_id)

    def watermarks(self, topic: str) -> int:
        """How many records of a topic all facts so far vouch for."""
        self.read()
        newest = {fact.partition: fact.watermark for fact in self.facts if fact.topic == topic}
        return sum(newest.values())

    def close(self) -> None:
        for number, worker in enumerate(self.workers):
            # Shown where a test failed.
            sys.stdout.write(f"worker {number}, ended: {worker.process.poll()}\n{worker.output.read_text()}\n")
            worker.kill()
        self._consumer.close()


def vectors_only(product_id: str) -> ProductAdded:
    return ProductAdded("shop", product_id, content=Content(title="t", vectors=(VECTOR,)))


def pictured(product_id: str, colour: str = "red") -> ProductAdded:
    return ProductAdded("shop", product_id, content=Content(pictures=(Picture(inline=jpeg(colour)),)))
