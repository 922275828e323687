import pytest

from schemas.errors import UnsupportedSchema
from topics.registry import ConfluentRegistry, open_registry
from topics.settings import KafkaSettings


def test_without_a_url_there_is_no_registry():
    assert open_registry(KafkaSettings("a:1")) is None


def test_a_schema_is_found_by_the_id_it_was_registered_with():
    registry = open_registry(KafkaSettings("a:1", schema_registry_url="mock://unit"))
    schema = {"type": "record", "name": "R", "fields": [{"name": "x", "type": "int"}]}
    assert registry.schema_of(registry.id_of("clicks-value", schema)) == schema


def test_an_unknown_id_is_an_unsupported_schema():
    with pytest.raises(UnsupportedSchema):
        ConfluentRegistry("mock://empty").schema_of(77)
