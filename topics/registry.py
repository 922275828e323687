"""A Confluent schema registry, for the outer topics; recovery never needs it."""

import json
from collections.abc import Callable
from typing import Any

from schemas.errors import TransientError, UnsupportedSchema
from schemas.framing import SchemaRegistry
from topics.settings import KafkaSettings


class ConfluentRegistry:
    """A SchemaRegistry over HTTP. Answers are cached: an id never changes its schema."""

    def __init__(self, url: str) -> None:
        # It brings an HTTP client along, which only those with a registry need to load.
        from confluent_kafka.schema_registry import SchemaRegistryClient

        self._client = SchemaRegistryClient.new_client({"url": url, "timeout": 5})

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        """The Avro schema with this id.

        Raises:
            UnsupportedSchema: there is none. TransientError: the registry did not answer.
        """
        text = self._asked(lambda: self._client.get_schema(schema_id).schema_str, f"read schema {schema_id}")
        schema: dict[str, Any] = json.loads(text)
        return schema

    def id_of(self, subject: str, schema: dict[str, Any]) -> int:
        """Register the schema under the subject if need be, and return its id; raises as :meth:`schema_of`."""
        from confluent_kafka.schema_registry import Schema

        entry = Schema(json.dumps(schema), "AVRO")
        registered: int = self._asked(lambda: self._client.register_schema(subject, entry), f"register {subject}")
        return registered

    def _asked(self, question: Callable[[], Any], doing: str) -> Any:
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return question()
        except SchemaRegistryError as error:
            if error.http_status_code in (404, 409, 422):
                raise UnsupportedSchema(f"the schema registry cannot {doing}: {error}") from error
            raise TransientError(f"the schema registry cannot {doing}: {error}") from error
        except Exception as error:  # whatever its HTTP client of the day raises: all of it may pass
            raise TransientError(f"the schema registry cannot {doing}: {type(error).__name__}: {error}") from error


def open_registry(settings: KafkaSettings) -> SchemaRegistry | None:
    """The registry of ``SCHEMA_REGISTRY_URL``; None when none is configured."""
    return ConfluentRegistry(settings.schema_registry_url) if settings.schema_registry_url else None
