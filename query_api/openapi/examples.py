"""What a schema says of a whole, made from what it says of its parts: schemas as msgspec makes them. Pure."""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]


def complete(components: Mapping[str, Schema]) -> None:
    """Give each property an example and a description, which a part of it may have."""
    for component in components.values():
        for schema in component.get("properties", {}).values():
            schema.setdefault("examples", [example_of(schema, components)])
            said = [option["description"] for option in schema.get("anyOf", ()) if "description" in option]
            if said:
                schema.setdefault("description", said[0])


def example_of(schema: Schema, components: Mapping[str, Schema]) -> Any:
    """An example of the schema: its own first one, or one made of those of its parts."""
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return _object(components[schema["$ref"].rpartition("/")[2]], components)
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], components)
    if schema.get("type") == "array":
        return [example_of(schema["items"], components)]
    return schema.get("default")


def _object(component: Schema, components: Mapping[str, Schema]) -> Schema:
    """With what is always there; what only some answers have is left out."""
    required = component.get("required", [])
    return {
        name: example_of(schema, components)
        for name, schema in component["properties"].items()
        if name in required or "default" in schema
    }
