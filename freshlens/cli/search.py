"""``freshlens search``, ``explain``, ``why-not`` and ``products``: asking the query API from a terminal."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from freshlens.cli.context import Context
from freshlens.cli.printing import print_json
from schemas.answers import Product, Result, SearchAnswer

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
    filter_ = parsed_filter(filter_json)
    with context.client() as client:
        answer = client.search(image=image, text=text, product_id=product, filter=filter_, k=k)
    if as_json:
        print_json(answer)
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
    filter_ = parsed_filter(filter_json)
    with context.client() as client:
        print_json(client.explain(product_id, image=image, text=text, filter=filter_))


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
    filter_ = parsed_filter(filter_json)
    with context.client() as client:
        print_json(client.why_not(product_id, image=image, text=text, filter=filter_))


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

        print_json(product_as_of(context.lane(), context.kafka(), context.store(), context.tenant, product_id, as_of))
        return
    with context.client() as client:
        print_json(client.product(product_id))


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
    with context.client() as client:
        answer = client.products(limit=limit)
    if as_json:
        print_json(answer)
    else:
        _print_table(answer.products)
        if answer.shards.answered < answer.shards.total:
            click.echo(
                f"{answer.shards.answered} of {answer.shards.total} shards answered: products are missing", err=True
            )


def parsed_filter(text: str | None) -> dict[str, Any] | None:
    """The filter of an option; raises BadParameter where it is not a JSON object."""
    if text is None:
        return None
    try:
        filter_ = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--filter") from None
    if not isinstance(filter_, dict):
        raise click.BadParameter("not a JSON object", param_hint="--filter")
    return filter_


def print_results(answer: SearchAnswer) -> None:
    """Print an answer as a table, and how it came about in one line."""
    if answer.no_match:
        click.echo("no match: nothing in this catalogue looks like it")
    else:
        _print_table(answer.results)
    fresh = answer.freshness[0] if answer.freshness else None
    click.echo(
        f"{len(answer.results)} results in {answer.timings_ms['total']:.1f} ms, generation "
        f"{fresh.generation if fresh else '?'}, lag {fresh.lag_ms if fresh else '?'} ms"
        + "".join(f"; {warning}" for warning in answer.warnings)
    )


def _print_table(products: Sequence[Product]) -> None:
    scores = any(isinstance(product, Result) for product in products)
    table = Table(box=None, pad_edge=False)
    for name in ("#", "score", "product", "title", "price") if scores else ("product", "title", "price"):
        table.add_column(name, justify="right" if name in ("#", "score", "price") else "left", overflow="fold")
    for product in products:
        lead = [str(product.position), f"{product.score:.3f}"] if isinstance(product, Result) else []
        price = "" if product.price is None else f"{product.price:.2f} {product.currency or ''}"
        table.add_row(*lead, product.product_id, product.title or "", price)
    Console().print(table)
