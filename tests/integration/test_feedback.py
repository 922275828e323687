"""Searches and clicks become windows of search quality; all three leave as Parquet that DuckDB reads."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import duckdb
import msgspec
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from freshlens.cli.export import export_command
from query_api.quality import QualityReader
from schemas import framing
from schemas.errors import LogChanged
from schemas.events import DeadLetter
from schemas.feedback import Click, PositionQuality, Search, SearchQuality, Shown, TrainingPair
from topics import administration, clients
from topics.settings import KafkaSettings

SECOND = 1_000_000
START = 1_795_000_020 * SECOND
PROGRAM = """
import os, sys
from schemas.metrics import NullMetrics
from streams import feedback
from streams.settings import StreamsSettings
feedback.run(StreamsSettings.from_env(os.environ), NullMetrics(), lambda: print("ready", flush=True))
"""
PAGE = Path(__file__).parents[2] / "docs" / "feedback.md"
T = TypeVar("T")


def search(number: int, **over: object) -> Search:
    shown = tuple(Shown(f"p{at}", at, 0.9) for at in (1, 2, 3))
    plain = Search(f"q{number}", "shop", START + number, "text", 3, shown, False, "test", True, {"total": 4.5}, "mug")
    return msgspec.structs.replace(plain, **over)


def click(number: int, product_id: str = "p1", **over: object) -> Click:
    plain = Click(f"q{number}", "shop", product_id, int(product_id[1:]), "click", START + 10 * SECOND)
    return msgspec.structs.replace(plain, **over)


def publish(kafka: KafkaSettings, *values: Search | Click | SearchQuality | bytes) -> None:
    topics = {Search: "searches", Click: "clicks", SearchQuality: "search-quality"}
    producer = clients.producer(kafka)
    for value in values:
        if isinstance(value, bytes):
            producer.produce(kafka.topic("clicks"), value, b"garbage")
        else:
            name = topics[type(value)]
            producer.produce(
                kafka.topic(name), framing.CODECS[name].encode(value), getattr(value, "query_id", "window")
            )
    assert producer.flush(20) == 0


@contextmanager
def worker(kafka: KafkaSettings, data: Path, *, lateness_s: int = 600) -> Iterator[subprocess.Popen[str]]:
    environ = {
        **os.environ,
        **kafka.environment(),
        "FRESHLENS_DATA": str(data),
        "FRESHLENS_SPACE": "test:4",
        "FRESHLENS_QUALITY_LATENESS_S": str(lateness_s),
    }
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(20)
        process.stdout.close()


def read_all(kafka: KafkaSettings, name: str, into: type[T]) -> list[T]:
    """Every record of a topic now."""
    topic = kafka.topic(name)
    ends = administration.end_offsets(clients.admin(kafka), topic)
    consumer = clients.consumer(kafka)
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
        values: list[T] = []
        while len(values) < sum(ends.values()):
            message = consumer.poll(10)
            assert message is not None
            assert message.error() is None
            values.append(framing.CODECS[name].decode(message.value() or b"", into))  # type: ignore[type-var]
        return values
    finally:
        consumer.close()


def eventually(question: Callable[[], T], is_answer: Callable[[T], bool], timeout_s: float = 40) -> T:
    deadline = time.monotonic() + timeout_s
    while not is_answer(found := question()):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def committed(kafka: KafkaSettings) -> int:
    """How many records of both topics the worker has acknowledged."""
    request = ConsumerGroupTopicPartitions(kafka.group("feedback"))
    admin = clients.admin(kafka)  # kept until the answer is there
    (future,) = admin.list_consumer_group_offsets([request]).values()
    return sum(max(0, each.offset) for each in future.result().topic_partitions)


def quality(kafka: KafkaSettings) -> list[SearchQuality]:
    return read_all(kafka, "search-quality", SearchQuality)


def test_a_click_becomes_click_through_by_position(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    reader = QualityReader(kafka_settings)
    reader.start()
    with worker(kafka_settings, tmp_path) as process:
        publish(kafka_settings, click(1, "p2"), search(1), search(2), search(3, shown=(), no_match=True))
        (row,) = eventually(lambda: reader.windows("shop", 10), lambda rows: bool(rows) and rows[0].clicks == 1)
        assert (row.window_start, row.searches, row.zero_results, row.abandoned) == (START, 3, 1, 1)
        assert [(each.position, each.shown, each.clicks, each.ctr) for each in row.positions] == [
            (1, 2, 0, 0.0),
            (2, 2, 1, 0.5),
            (3, 2, 0, 0.0),
        ]
        publish(kafka_settings, click(2, "p1", kind="purchase"))
        (later,) = eventually(lambda: reader.windows("shop", 10), lambda rows: rows[0].purchases == 1)
        assert later.revision > row.revision
        assert later.abandoned == 0
        assert committed(kafka_settings) == 0

        process.kill()
    publish(kafka_settings, click(2, "p3"))
    with worker(kafka_settings, tmp_path):
        (again,) = eventually(lambda: reader.windows("shop", 10), lambda rows: rows[0].clicks == 2)
        assert (again.searches, again.purchases, again.revision) == (3, 1, later.revision + 1)
    assert reader.windows("another") == []
    reader.stop()


def test_finished_windows_are_acknowledged_and_leave_training_pairs(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    garbage = b"\xc3\x01garbage of no schema"
    with worker(kafka_settings, tmp_path, lateness_s=1):
        publish(kafka_settings, search(1), click(1, "p1", dwell_ms=8_000), click(1, "p2"), garbage)
        publish(kafka_settings, click(9), search(2), click(2, "p3", kind="add_to_cart"))
        eventually(lambda: committed(kafka_settings), lambda count: count == 7)
    pairs = read_all(kafka_settings, "training-pairs", TrainingPair)
    assert {(pair.query_id, pair.product_id, pair.weight) for pair in pairs} == {("q1", "p1", 1.0), ("q2", "p3", 3.0)}
    (letter,) = read_all(kafka_settings, "dead-letters", DeadLetter)
    assert (letter.code, letter.source.topic, letter.key, letter.value) == (
        "unsupported-schema", "clicks", b"garbage", garbage,
    )  # fmt: skip
    newest = max(quality(kafka_settings), key=lambda row: row.revision)
    assert (newest.searches, newest.clicks, newest.carts) == (2, 2, 1)


@dataclass(frozen=True)
class CommandContext:
    """What the export command asks of the context of the main command."""

    settings: KafkaSettings

    def kafka(self) -> KafkaSettings:
        return self.settings


def exported(kafka: KafkaSettings, name: str, folder: Path) -> str:
    arguments = [name, "--to", str(folder)]
    done = CliRunner().invoke(export_command, arguments, obj=CommandContext(kafka), catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_exports_are_read_by_duckdb_and_go_on_where_they_stopped(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    assert "nothing new" in exported(kafka_settings, "clicks", tmp_path)
    publish(kafka_settings, search(1, embedding=b"\x00\x3c"), click(1, dwell_ms=7), b"garbage")
    assert "1 rows" in exported(kafka_settings, "searches", tmp_path)
    first = exported(kafka_settings, "clicks", tmp_path)
    assert "1 rows" in first
    assert "1 records are not readable" in first
    assert "nothing new" in exported(kafka_settings, "clicks", tmp_path)
    publish(kafka_settings, click(1, "p2"), click(2, "p3"))
    assert "2 rows" in exported(kafka_settings, "clicks", tmp_path)

    duck = duckdb.connect()
    clicks = duck.execute(
        f"SELECT query_id, product_id, position, kind, epoch_us(clicked_at), dwell_ms, session "
        f"FROM '{tmp_path}/clicks-*.parquet' ORDER BY query_id, product_id"
    ).fetchall()
    at = START + 10 * SECOND
    assert clicks == [
        ("q1", "p1", 1, "click", at, 7, None),
        ("q1", "p2", 2, "click", at, None, None),
        ("q2", "p3", 3, "click", at, None, None),
    ]
    shown = duck.execute(
        f"SELECT s.product_id, s.position, s.arm, embedding, timings_ms['total'] "
        f"FROM (SELECT unnest(shown) AS s, embedding, timings_ms FROM '{tmp_path}/searches-*.parquet') ORDER BY 2"
    ).fetchall()
    assert shown == [(f"p{at}", at, "default", b"\x00\x3c", 4.5) for at in (1, 2, 3)]


def test_the_queries_of_the_page_for_analysts_run_as_printed(
    kafka_settings: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_position, carts = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    early = SearchQuality("shop", "default", START, START + 60, 1, 1, 0, 0, 0, 0, 0, (PositionQuality(1, 2, 0, 0.0),))
    late = msgspec.structs.replace(early, revision=2, positions=(PositionQuality(1, 4, 1, 0.25),))
    other = msgspec.structs.replace(late, window_start=START + 60, revision=1)
    publish(kafka_settings, late, early, other, search(1), click(1, "p2", kind="add_to_cart"))
    for name in ("searches", "clicks", "search-quality"):
        exported(kafka_settings, name, tmp_path / "exports")
    monkeypatch.chdir(tmp_path)
    assert duckdb.connect().execute(by_position).fetchall() == [(1, 8, 2, 0.25)]
    assert duckdb.connect().execute(carts).fetchall() == [("mug", "p2", 1)]


def test_a_folder_of_another_log_is_refused(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    publish(kafka_settings, click(1))
    exported(kafka_settings, "clicks", tmp_path)
    (file,) = tmp_path.iterdir()
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"freshlens.log_id": b"x:y"}), file)
    with pytest.raises(LogChanged, match="another folder"):
        exported(kafka_settings, "clicks", tmp_path)
