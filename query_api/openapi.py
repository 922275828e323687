"""The OpenAPI 3.1 document, generated from the route table and the types that the routes decode and encode."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from query_api.problems import MEDIA_TYPE
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
}
_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, `fl_ID_SECRET`, made by `freshlens keys create`. While no key exists none is needed, "
    "and only this machine is served.",
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds after which to come again.", "schema": {"type": "integer"}}}
_REFUSALS = {
    "401": "No key, or one that is not valid: `unauthorized`",
    "403": "The key lacks the scope, or is of another tenant: `scope-missing`, `tenant-refused`; or `host-refused`",
    "429": "The key's rate or its quota of the day: `rate-limited`, `quota-used`",
    "503": "Come again: `overloaded`, `shard-unavailable` and others",
}
_PICTURE = {"image/*": {"schema": {"type": "string", "format": "binary"}}}


def document(routes: "Sequence[Route]", version: str) -> dict[str, Any]:
    """The document as a JSON object."""
    types = _types(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
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
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', route.path.lower()).strip('_')}",
        "security": [] if route.scope is None else [{"key": [route.scope]}],
        "parameters": _parameters(route, components),
        "responses": {
            str(route.status): {"description": "Done", "content": _content(route.answer, by_type)},
            **({} if route.scope is None else _refusals(by_type)),
            "default": {"description": "A problem (RFC 9457)", "content": _problem(by_type)},
        },
    }
    if route.body is not None:
        content = _content(route.body, by_type)
        operation["requestBody"] = {"required": True, "content": content | (_PICTURE if route.takes_picture else {})}
    return operation


def _refusals(by_type: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        status: {"description": said, "content": _problem(by_type)} for status, said in _REFUSALS.items()
    }
    for status in ("429", "503"):
        told[status]["headers"] = _RETRY_AFTER
    return told


def _problem(by_type: dict[str, Any]) -> dict[str, Any]:
    return {MEDIA_TYPE: {"schema": by_type[_name(Problem)]}}


def _content(kind: Any, by_type: dict[str, Any]) -> dict[str, Any]:
    if isinstance(kind, str):
        return {kind: {"schema": {"type": "string"}}}
    return {"application/json": {"schema": by_type[_name(kind)]}}


def _parameters(route: "Route", components: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAMETER.findall(route.path)
    ]
    if route.path.startswith("/v1/"):
        found.append(_TENANT)
    if route.parameters is not None:
        properties = components[route.parameters.__name__]["properties"]
        found += [
            {"name": name, "in": "query", "required": False, "schema": schema} for name, schema in properties.items()
        ]
    return found
