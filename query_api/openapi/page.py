"""``/openapi.json`` and ``/docs``: the same document for programs and for readers, nothing loaded from elsewhere."""

from functools import cache
from html import escape
from importlib import metadata, resources
from typing import Any

import msgspec
from aiohttp import web

from query_api import problems
from query_api.access.keys import answer
from query_api.openapi import document as generated

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Freshlens query API</title>
<link rel="stylesheet" href="/docs/docs.css">
</head>
<body>
<header><h1>Freshlens query API <small>{version}</small></h1>
<p>The same as <a href="/openapi.json">openapi.json</a>. <a href="/">Search page</a></p></header>
<main>
<section><h2>Routes</h2>{routes}</section>
<section><h2>Errors</h2>
<p>Every answer of 400 and above is a problem (RFC 9457) with a stable <code>code</code>.</p>
<dl>{codes}</dl></section>
<section><h2>Types</h2>{types}</section>
</main>
</body>
</html>
"""


async def openapi(_: web.Request) -> web.Response:
    """``GET /openapi.json``."""
    return answer(the_document())


async def docs(_: web.Request) -> web.Response:
    """``GET /docs``."""
    return web.Response(text=_page(), content_type="text/html")


async def stylesheet(_: web.Request) -> web.Response:
    """``GET /docs/docs.css``."""
    css = (resources.files("query_api.openapi") / "docs.css").read_text()
    return web.Response(text=css, content_type="text/css")


@cache
def the_document() -> dict[str, Any]:
    """The OpenAPI document of this program."""
    from query_api.routes.table import ROUTES  # the table names this module's handlers

    return generated.document(ROUTES, metadata.version("freshlens"))


@cache
def _page() -> str:
    document = the_document()
    routes = "".join(
        _route(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    codes = "".join(
        f'<dt id="{code}"><code>{code}</code></dt><dd>{escape(title)}</dd>' for code, title in sorted(_codes().items())
    )
    types = "".join(_type(name, schema) for name, schema in sorted(document["components"]["schemas"].items()))
    return _PAGE.format(version=escape(document["info"]["version"]), routes=routes, codes=codes, types=types)


def _route(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<li><code>{escape(parameter['name'])}</code> ({parameter['in']}) {escape(_kind(parameter['schema']))}: "
        f"{escape(parameter['description'])}</li>"
        for parameter in operation["parameters"]
    )
    body = operation.get("requestBody", {}).get("content", {})
    bodies = "".join(f"<p>Body {escape(media)}: {_link(content['schema'])}</p>" for media, content in body.items())
    told = "".join(
        f"<p>{status} {_codes_of(content) if media == problems.MEDIA_TYPE else _answered(media, content)}</p>"
        for status, response in operation["responses"].items()
        for media, content in response["content"].items()
    )
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation['summary'])}"
        f"</summary><ul>{parameters}</ul>{bodies}{told}</details>"
    )


def _answered(media: str, content: dict[str, Any]) -> str:
    return f"{escape(media)}: {_link(content['schema'])}"


def _codes_of(content: dict[str, Any]) -> str:
    return ", ".join(f'<a href="#{code}"><code>{code}</code></a>' for code in content["examples"])


def _type(name: str, schema: dict[str, Any]) -> str:
    text = msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
    return f'<details id="type-{escape(name)}"><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>'


def _link(schema: dict[str, Any]) -> str:
    reference = schema.get("$ref", "")
    name = reference.rpartition("/")[2]
    return f'<a href="#type-{escape(name)}">{escape(name)}</a>' if name else escape(_kind(schema))


def _kind(schema: dict[str, Any]) -> str:
    return " or ".join(filter(None, (part.get("type") for part in schema.get("anyOf", [schema])))) or "any"


def _codes() -> dict[str, str]:
    return {
        code: problems.title_of(kind) for kind in problems.error_classes() for code in (*kind.codes, kind.code) if code
    }
