"""The schema registry, for those who use Confluent framing; nothing of ours needs it to recover (HOLES 18)."""

import json
from typing import Any

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.errors import BrokerUnavailable, UnsupportedSchema
from schemas.framing import SchemaRegistry
from topics.settings import KafkaSettings


class ConfluentRegistry:
    """A SchemaRegistry over HTTP; answers are kept for the life of the process, since ids never change."""

    def __init__(self, url: str) -> None:
        self._client = SchemaRegistryClient.new_client({"url": url})
        self._schemas: dict[int, dict[str, Any]] = {}
        self._ids: dict[str, int] = {}

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        """The schema with this id; UnsupportedSchema if the registry has none, BrokerUnavailable if it is down."""
        if schema_id not in self._schemas:
            try:
                self._schemas[schema_id] = json.loads(self._client.get_schema(schema_id).schema_str)
            except SchemaRegistryError as error:
                raise UnsupportedSchema(f"schema id {schema_id}: {error.error_message}") from error
            except OSError as error:
                raise BrokerUnavailable(f"the schema registry does not answer: {error}") from error
        return self._schemas[schema_id]

    def id_of(self, subject: str, schema: dict[str, Any]) -> int:
        """The id of the schema under the subject, registered if need be."""
        if subject not in self._ids:
            try:
                self._ids[subject] = self._client.register_schema(subject, Schema(json.dumps(schema), "AVRO"))
            except SchemaRegistryError as error:
                raise UnsupportedSchema(f"subject {subject}: {error.error_message}") from error
            except OSError as error:
                raise BrokerUnavailable(f"the schema registry does not answer: {error}") from error
        return self._ids[subject]


def open_registry(kafka: KafkaSettings) -> SchemaRegistry | None:
    """The configured registry, or None: then we write single-object encoding and read no Confluent framing."""
    return ConfluentRegistry(kafka.schema_registry_url) if kafka.schema_registry_url else None
