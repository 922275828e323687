"""A catalogue system that knows nothing of Freshlens but its ``.avsc`` files: fastavro and a plain Kafka producer."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Producer
from fastavro.schema import fingerprint, to_parsing_canonical_form

SCHEMAS = Path(__file__).parents[2] / "schemas"


class PlainProducer:
    """Sends dictionaries as single-object Avro; ``partitioner`` as librdkafka names them."""

    def __init__(self, kafka: str, partitioner: str = "consistent_random") -> None:
        self._producer = Producer({"bootstrap.servers": kafka, "partitioner": partitioner, "acks": "all"})
        self._schemas: dict[str, Any] = {}

    def send(self, topic: str, value: dict[str, Any]) -> tuple[int, int]:
        """Publish one event and return its partition and offset."""
        schema = json.loads((SCHEMAS / f"{topic}.avsc").read_text())
        stream = io.BytesIO()
        stream.write(b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")))
        fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
        return self.send_raw(topic, stream.getvalue(), f"{value['tenant']}/{value['product_id']}".encode())

    def send_raw(self, topic: str, value: bytes | None, key: bytes | None) -> tuple[int, int]:
        """Publish bytes as they are."""
        place: list[tuple[int, int]] = []

        def delivered(error: Any, message: Any) -> None:
            assert error is None, error
            place.append((message.partition(), message.offset()))

        self._producer.produce(topic, value, key, on_delivery=delivered)
        assert self._producer.flush(30) == 0
        return place[0]
