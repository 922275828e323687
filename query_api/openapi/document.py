"""The OpenAPI 3.1 document, generated from the route table and the types that the routes decode and encode."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from query_api.openapi import examples
from query_api.problems import MEDIA_TYPE
from query_api.routes.refusals import by_status
from schemas.answers import Problem

if TYPE_CHECKING:
    from query_api.routes.table import Route

_REF = "#/components/schemas/{name}"
_PATH_PARAMETER = re.compile(r"{(\w+)}")
_TENANT = {
    "name": "tenant",
    "in": "query",
    "required": False,
    "description": "Whose products; if absent that of the key, or `default`. A key of one tenant may name no other.",
    "schema": {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"},
    "example": "default",
}
_PATH_PARAMETERS = {
    "product_id": ("The product's id within its tenant.", "dress-7"),
    "content_hash": ("Of the picture, as `thumbnail` of a result names it.", "01010101010101010101010101010101"),
}
_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, `fl_ID_SECRET`, made by `freshlens keys create`. While no key exists none is needed, "
    "and only this machine is served.",
}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds after which to come again.",
        "schema": {"type": "integer"},
        "example": 1,
    }
}
_PICTURE = {"image/*": {"schema": {"type": "string", "format": "binary"}}}


def document(routes: "Sequence[Route]", version: str) -> dict[str, Any]:
    """The document as a JSON object."""
    types = _types(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    examples.complete(components)
    by_type = dict(zip(map(_name, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Freshlens query API", "version": version},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"key": _KEY}},
    }


def _types(routes: "Sequence[Route]") -> list[Any]:
    wanted: list[Any] = [Problem]
    for route in routes:
        wanted += [kind for kind in (route.body, route.answer, route.parameters) if kind is not None]
    return list({_name(kind): kind for kind in wanted if not isinstance(kind, str)}.values())


def _name(kind: Any) -> str:
    return repr(kind)


def _operation(route: "Route", by_type: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    answered = {"description": "Done", "content": _content(route.answer, by_type, components)}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', route.path.lower()).strip('_')}",
        "security": [] if route.scope is None else [{"key": [route.scope]}],
        "parameters": _parameters(route, components),
        "responses": {
            str(route.status): answered,
            **({} if route.not_yet is None else {str(route.not_yet): answered | {"description": "Not yet"}}),
            **{str(status): _refused(status, told, by_type) for status, told in by_status(route.refuses).items()},
        },
    }
    if route.body is not None:
        content = _content(route.body, by_type, components)
        if route.examples:
            given = {name: {"value": value} for name, value in route.examples.items()}
            content["application/json"] = {"schema": content["application/json"]["schema"], "examples": given}
        operation["requestBody"] = {"required": True, "content": content | (_PICTURE if route.takes_picture else {})}
    return operation


def _refused(status: int, told: Sequence[Problem], by_type: dict[str, Any]) -> dict[str, Any]:
    """A status with every code that goes with it."""
    given = {problem.code: {"summary": problem.title, "value": msgspec.to_builtins(problem)} for problem in told}
    refused: dict[str, Any] = {
        "description": ", ".join(f"`{problem.code}`" for problem in told),
        "content": {MEDIA_TYPE: {"schema": by_type[_name(Problem)], "examples": given}},
    }
    return refused | ({"headers": _RETRY_AFTER} if status in (429, 503) else {})


def _content(kind: Any, by_type: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    if isinstance(kind, str):
        return {kind: {"schema": {"type": "string"}}}
    schema = by_type[_name(kind)]
    return {"application/json": {"schema": schema, "example": examples.example_of(schema, components)}}


def _parameters(route: "Route", components: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_PARAMETERS[name][0],
            "schema": {"type": "string"},
            "example": _PATH_PARAMETERS[name][1],
        }
        for name in _PATH_PARAMETER.findall(route.path)
    ]
    if route.path.startswith("/v1/"):
        found.append(_TENANT)
    if route.parameters is not None:
        properties = components[route.parameters.__name__]["properties"]
        beside = " With a picture as the body; in a body of JSON it is a field." if route.takes_picture else ""
        found += [_query_parameter(name, schema, beside) for name, schema in properties.items()]
    return found


def _query_parameter(name: str, schema: dict[str, Any], beside: str) -> dict[str, Any]:
    plain = {key: value for key, value in schema.items() if key not in ("description", "examples")}
    said = {"description": schema["description"] + beside, "example": schema["examples"][0]}
    return {"name": name, "in": "query", "required": False, "schema": plain, **said}
