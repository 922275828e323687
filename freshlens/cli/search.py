"""``freshlens search``, ``explain``, ``why-not`` and ``products``: asking the query API from a terminal."""

import asyncio
import base64
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from freshlens.cli.context import Context

image_option = click.option(
    "--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A picture to search by."
)
text_option = click.option("--text", help="Words to search by, alone or beside a picture.")
product_option = click.option("--product", help="Search by a product's own pictures.")
filter_option = click.option("--filter", "filter_json", help='JSON, for example {"category": "mug"}.')
k_option = click.option("-k", type=click.IntRange(1, 200), default=10, show_default=True, help="How many.")
_TIMES = ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the API's JSON.")


@click.command("search")
@image_option
@text_option
@product_option
@filter_option
@k_option
@json_option
@click.pass_obj
def search_command(
    context: Context,
    image: Path | None,
    text: str | None,
    product: str | None,
    filter_json: str | None,
    k: int,
    as_json: bool,
) -> None:
    """Search by picture, text, product, filter, or several of them.

    \b
    Example:
        freshlens search --image photo.jpg --text "in blue" --filter '{"price": {"lt": 50}}'
    """
    body = search_body(text, product, filter_json, k)
    answer = asyncio.run(_search(context, image.read_bytes() if image else None, body))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        print_results(answer)


@click.command("explain")
@click.argument("product_id")
@image_option
@text_option
@filter_option
@click.pass_obj
def explain_command(
    context: Context, product_id: str, image: Path | None, text: str | None, filter_json: str | None
) -> None:
    """Say why a product is in an answer, stage by stage.

    \b
    Example:
        freshlens explain mug-0007 --text "blue mug"
    """
    _explain(context, "/v1/explain", product_id, image, search_body(text, None, filter_json, 10))


@click.command("why-not")
@click.argument("product_id")
@image_option
@text_option
@filter_option
@click.pass_obj
def why_not_command(
    context: Context, product_id: str, image: Path | None, text: str | None, filter_json: str | None
) -> None:
    """Say why a product is not in an answer, and what would bring it in.

    \b
    Example:
        freshlens why-not mug-0007 --image photo.jpg
    """
    _explain(context, "/v1/why-not", product_id, image, search_body(text, None, filter_json, 10))


@click.group("products")
def products_group() -> None:
    """Look at products as the index holds them.

    \b
    Example:
        freshlens products list
    """


@products_group.command("get")
@click.argument("product_id")
@click.option("--as-of", type=click.DateTime(_TIMES), help="As the index held it then; local time, within retention.")
@click.pass_obj
def get_command(context: Context, product_id: str, as_of: datetime | None) -> None:
    """Print one product.

    \b
    Example:
        freshlens products get mug-0007
        freshlens products get mug-0007 --as-of 2026-11-20T10:05:00
    """
    if as_of is not None:
        # What only this needs takes seconds to import.
        from freshlens.time_travel import product_as_of

        known = product_as_of(context.lane(), context.kafka(), context.store(), context.tenant, product_id, as_of)
        click.echo(msgspec.json.format(msgspec.json.encode(known), indent=2).decode())
        return

    async def get() -> dict[str, Any]:
        async with context.client() as client:
            return await client.product(product_id)

    click.echo(json.dumps(asyncio.run(get()), indent=2))


@products_group.command("list")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@json_option
@click.pass_obj
def list_command(context: Context, limit: int, as_json: bool) -> None:
    """List products, newest first.

    \b
    Example:
        freshlens products list --limit 50
    """

    async def fetch() -> dict[str, Any]:
        async with context.client() as client:
            return await client.call("GET", "/v1/products", query={"limit": str(limit)})

    answer = asyncio.run(fetch())
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        _print_table(answer["products"], scores=False)


def search_body(text: str | None, product: str | None, filter_json: str | None, k: int) -> dict[str, Any]:
    """The body of a search from the command's options; absent ones are left out."""
    body: dict[str, Any] = {"k": k}
    if text is not None:
        body["text"] = text
    if product is not None:
        body["product_id"] = product
    if filter_json is not None:
        try:
            body["filter"] = json.loads(filter_json)
        except ValueError as error:
            raise click.BadParameter(f"not JSON: {error}", param_hint="--filter") from None
    return body


def print_results(answer: Mapping[str, Any]) -> None:
    """Print an answer as a table, and how it came about in one line."""
    if answer["no_match"]:
        click.echo("no match: nothing in this catalogue looks like it")
    else:
        _print_table(answer["results"], scores=True)
    fresh = answer["freshness"][0] if answer["freshness"] else {}
    click.echo(
        f"{len(answer['results'])} results in {answer['timings_ms']['total']:.1f} ms, generation "
        f"{fresh.get('generation', '?')}, lag {fresh.get('lag_ms', '?')} ms"
        + "".join(f"; {warning}" for warning in answer["warnings"])
    )


def _print_table(results: list[dict[str, Any]], *, scores: bool) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("#", "score", "product", "title", "price") if scores else ("product", "title", "price"):
        table.add_column(name, justify="right" if name in ("#", "score", "price") else "left", overflow="fold")
    for result in results:
        attributes = result.get("attributes") or {}
        price = result.get("price", attributes.get("price"))
        currency = result.get("currency") or attributes.get("currency") or ""
        cells = [result["product_id"], result.get("title") or "", "" if price is None else f"{price:.2f} {currency}"]
        lead = [str(result["position"]), f"{result['score']:.3f}"] if scores else []
        table.add_row(*lead, *cells)
    Console().print(table)


async def _search(context: Context, image: bytes | None, body: dict[str, Any]) -> dict[str, Any]:
    async with context.client() as client:
        return await client.search(image=image, **body)


def _explain(context: Context, route: str, product_id: str, image: Path | None, body: dict[str, Any]) -> None:
    if image is not None:
        body["image"] = {"base64": base64.b64encode(image.read_bytes()).decode()}
    body["product_id"] = product_id

    async def ask() -> dict[str, Any]:
        async with context.client() as client:
            return await client.call("POST", route, body)

    click.echo(json.dumps(asyncio.run(ask()), indent=2))
