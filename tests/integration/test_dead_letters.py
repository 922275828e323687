"""The dead-letters commands on a real Kafka."""

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from click.testing import CliRunner, Result

from freshlens.cli.dead_letters import dead_letters_group
from freshlens.log_reading import records
from schemas import framing
from schemas.events import Content, DeadLetter, ProductAdded, ProductRetry, Source
from topics import administration, clients
from topics.settings import KafkaSettings
from topics.store import FileStore, ObjectStore


@dataclass(frozen=True)
class CommandContext:
    """What the commands ask of the context of the main command."""

    settings: KafkaSettings
    folder: Path
    tenant: str = "shop"

    @property
    def environ(self) -> dict[str, str]:
        return {}

    @property
    def data(self) -> Path:
        return self.folder

    def kafka(self) -> KafkaSettings:
        return self.settings

    def store(self) -> ObjectStore:
        return FileStore(self.folder / "store")


def bury(kafka: KafkaSettings, code: str, key: bytes, value: bytes, appended_at: int) -> None:
    source = Source("product-added", 0, 7, appended_at)
    letter = DeadLetter(code, f"because of {code}", source, key, value, b"hash", 1, appended_at * 1000)
    producer = clients.producer(kafka)
    producer.produce(kafka.topic("dead-letters"), framing.DEAD_LETTERS.encode(letter), key)
    assert producer.flush(20) == 0


def added(product_id: str) -> bytes:
    return framing.PRODUCT_ADDED.encode(ProductAdded("shop", product_id, content=Content(product_id)))


def test_list_show_and_replay(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    recent = time.time_ns() // 1_000_000 - 60_000
    bury(kafka_settings, "undecodable-image", b"shop/p1", added("p1"), recent)
    bury(kafka_settings, "encoder-failed", b"shop/p2", added("p2"), recent + 1000)
    bury(kafka_settings, "undecodable-record", b"shop/p3", b"garbage", recent + 2000)
    context = CommandContext(kafka_settings, tmp_path)

    def run(*arguments: str) -> Result:
        done = CliRunner().invoke(dead_letters_group, arguments, obj=context)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    listed = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]
    assert [(row["product"], row["code"]) for row in listed] == [
        ("shop/p3", "undecodable-record"), ("shop/p2", "encoder-failed"), ("shop/p1", "undecodable-image"),
    ]  # fmt: skip
    assert "3 dead letters" in run("list").stdout

    def between(since_ms: int, until_ms: int) -> list[str]:
        """The products of letters that failed at these milliseconds after the first."""
        since, until = (datetime.fromtimestamp((recent + ms) / 1000, UTC).isoformat() for ms in (since_ms, until_ms))
        lines = run("list", "--json", "--since", since, "--until", until).stdout.splitlines()
        return [json.loads(line)["product"] for line in lines]

    assert between(0, 2000) == ["shop/p2", "shop/p1"]
    assert between(1, 2001) == ["shop/p3", "shop/p2"]
    assert run("list", "--json", "--since", "10m").stdout.count("\n") == 3
    assert run("list", "--json", "--since", "1s").stdout == ""
    assert run("list", "--since", "yesterday").exit_code == click.UsageError.exit_code
    (one,) = [json.loads(line) for line in run("list", "--json", "--product", "p2").stdout.splitlines()]

    shown = json.loads(run("show", one["id"]).stdout)
    assert (shown["code"], shown["decoded"]["product_id"]) == ("encoder-failed", "p2")

    assert run("replay").exit_code == click.UsageError.exit_code
    assert run("replay", "--until", "5d").stdout == "0 replayed, 0 refused\n"
    assert run("replay", "--code", "encoder-failed", "--since", "1h").stdout == "1 replayed, 0 refused\n"
    rest = run("replay", "--all")
    assert (rest.exit_code, rest.stdout) == (1, "2 replayed, 1 refused\n")
    assert "undecodable-record" in rest.stderr

    client, topic = clients.admin(kafka_settings), kafka_settings.topic("product-retry")
    begins, ends = administration.begin_offsets(client, topic), administration.end_offsets(client, topic)
    retries = [
        framing.PRODUCT_RETRY.decode(message.value() or b"", ProductRetry)
        for message in records(kafka_settings, topic, begins, ends, lambda _done, _total: None)
    ]
    assert sorted((retry.source.appended_at, retry.version, retry.sequence) for retry in retries) == [
        (recent, recent * 1000, 7),
        (recent + 1000, (recent + 1000) * 1000, 7),
        (recent + 1000, (recent + 1000) * 1000, 7),
    ]
