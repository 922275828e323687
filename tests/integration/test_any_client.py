"""docs/publish-from-any-client.md: its program runs as printed, and what it sends is a product of ours."""

import os
import re
import subprocess
import sys
from pathlib import Path

from confluent_kafka import TopicPartition

from schemas import framing
from schemas.events import Content, Offer, Picture, ProductAdded
from schemas.identity import check_record_key, product_key
from topics import administration, clients
from topics.settings import KafkaSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "publish-from-any-client.md").read_text()


def test_the_program_of_the_page_publishes_a_product(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    topic = kafka_settings.topic("product-added")
    assert '"product-added"' in program
    (tmp_path / "schemas").symlink_to(ROOT / "schemas")
    (tmp_path / "mug.jpg").write_bytes(b"not really a picture")
    subprocess.run(
        [sys.executable, "-c", program.replace('"product-added"', f'"{topic}"')],
        cwd=tmp_path,
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka_settings.bootstrap_servers, "PYTHONSAFEPATH": "1"},
        check=True,
        timeout=60,
    )
    key, value = only_record(kafka_settings, topic)
    product = framing.PRODUCT_ADDED.decode(value, ProductAdded)
    assert product == ProductAdded(
        "default",
        "mug-1",
        content=Content("A blue mug", pictures=(Picture(inline=b"not really a picture"),)),
        offer=Offer(9.5, "EUR"),
    )
    check_record_key(key, product_key(product.tenant, product.product_id))


def test_the_program_is_short_and_uses_nothing_of_ours() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 18
    imported = set(re.findall(r"^(?:import|from) (.+?)(?: import .*)?$", program, re.MULTILINE))
    assert imported == {"io, json, os", "fastavro", "confluent_kafka"}


def only_record(settings: KafkaSettings, topic: str) -> tuple[bytes | None, bytes]:
    ends = administration.end_offsets(clients.admin(settings), topic)
    assert sum(ends.values()) == 1
    (partition,) = (partition for partition, end in ends.items() if end)
    consumer = clients.consumer(settings)
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        message = consumer.poll(20)
        assert message is not None
        assert message.error() is None
        value = message.value()
        assert value is not None
        return message.key(), value
    finally:
        consumer.close()
