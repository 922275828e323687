"""``freshlens plan``: what a catalogue of some size takes and costs."""

from dataclasses import fields
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from freshlens import capacity
from freshlens.capacity import Ask, Plan, Prices
from freshlens.cli.numbers import FiniteRange

_ASK = {field.name: field.default for field in fields(Ask)}
_PRICES = {field.name: field.default for field in fields(Prices)}
_ABOVE_0 = FiniteRange(min=0, min_open=True, max=1e15)


@click.command("plan")
@click.option("--products", type=_ABOVE_0, required=True, help="Products, as in 2e6.")
@click.option("--views", type=_ABOVE_0, default=_ASK["views"], show_default=True, help="Vectors per product.")
@click.option("--dim", type=click.IntRange(1, 4096), default=_ASK["dim"], show_default=True, help="Of the vectors.")
@click.option("--qps", type=_ABOVE_0, default=_ASK["qps"], show_default=True, help="Searches per second.")
@click.option("--events-per-s", type=FiniteRange(0), default=_ASK["events_per_s"], show_default=True)
@click.option("--replicas", type=click.IntRange(1), default=_ASK["replicas"], show_default=True, help="Of each shard.")
@click.option("--shard-rows", type=_ABOVE_0, help="Rows of a shard; by default the most that every limit allows.")
@click.option("--vectors-in-ram", type=FiniteRange(0, 1), default=_ASK["vectors_in_ram"], show_default=True,
              help="Share of the full vectors that the page cache holds.")  # fmt: skip
@click.option("--core-hour", type=FiniteRange(0), default=_PRICES["core_hour"], show_default=True, help="Price.")
@click.option("--ram-gib-hour", type=FiniteRange(0), default=_PRICES["ram_gib_hour"], show_default=True)
@click.option("--disk-gib-hour", type=FiniteRange(0), default=_PRICES["disk_gib_hour"], show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def plan_command(as_json: bool, core_hour: float, ram_gib_hour: float, disk_gib_hour: float, **asked: Any) -> None:
    """Say what an index of so many products takes: memory, disk, shards, cores, and the cost of 1,000 queries.

    Figures come from this release's benchmarks (docs/capacity.md). Encoders are not in it.

    \b
    Example:
        freshlens plan --products 1e9 --qps 500 --events-per-s 1000
    """
    ask = Ask(**asked)  # the options have the names and types of its fields
    prices = Prices(core_hour, ram_gib_hour, disk_gib_hour)
    made = capacity.plan(ask, prices)
    if as_json:
        click.echo(msgspec.json.encode({"ask": ask, "prices": prices, "plan": made, "cores": made.cores}))
        return
    console = Console()
    console.print(_summary(ask, made))
    console.print(_levers(ask, prices))
    if made.extrapolated > 1:
        console.print(
            f"A shard is {made.extrapolated:,.1f} times as large as the largest measured: times are extended."
        )


def _summary(ask: Ask, made: Plan) -> Table:
    table = Table(
        "", "", show_header=False, title=f"{ask.products:,.0f} products, {made.rows:,.0f} vectors of {ask.dim}"
    )
    rows = {
        "shards × replicas": f"{made.shards} × {made.replicas}",
        "rows of a shard": f"{made.rows_per_shard:,.0f} (at most {made.limit.rows:,.0f}: {made.limit.what})",
        "memory": f"{made.ram_gib:,.0f} GiB, {made.ram_gib_per_node:,.1f} a node",
        "disk": f"{made.disk_gib:,.0f} GiB for {ask.generations_kept} generations",
        "index-log": f"up to {capacity.log_gib_per_day(ask):,.0f} GiB a day",
        "search of a shard": f"{made.search_ms:,.1f} ms of a core",
        "cores": f"{made.cores:,} ({made.search_cores:,.1f} search, {made.apply_cores:,.1f} apply, "
        f"{made.compaction_cores:,.1f} compact)",
        "compaction of a shard": f"{made.compaction_h:,.1f} h",
        "cost": f"{made.cost_per_hour:,.2f} an hour, {made.cost_per_1000_queries:,.4f} per 1,000 queries",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _levers(ask: Ask, prices: Prices) -> Table:
    table = Table("lever", "memory, GiB", "cores", "shards", "per 1,000 queries")
    for lever in capacity.levers(ask, prices):
        cost = f"{lever.plan.cost_per_1000_queries:,.4f}"
        table.add_row(lever.what, f"{lever.plan.ram_gib:,.0f}", f"{lever.plan.cores:,}", str(lever.plan.shards), cost)
    return table
