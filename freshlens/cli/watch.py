"""``freshlens watch``: what each source of products sends, what is unlike it, and what is held."""

import json
import time
from datetime import UTC, datetime

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from freshlens import watching
from freshlens.cli.audit import record
from freshlens.cli.context import Context
from freshlens.cli.dead_letters import replayer
from processors.watch.sources import Shown
from schemas.errors import NotFound
from schemas.identity import check_tenant
from streams.watch.holds import LOOK_EVERY_S, Hold, Holds
from streams.watch.watcher import read_report
from topics.registry import open_registry

_FOLLOWED_S = 2 * LOOK_EVERY_S + 1
"""Within this time every worker has seen that a source is released."""


@click.group("watch", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def watch_group(ctx: click.Context, as_json: bool) -> None:
    """Show what each source sends in its present window; in brackets what is normal, and ! where it is alarming.

    A source is a tenant, or a feed of it that names itself in the attribute `source`: TENANT/FEED.

    \b
    Example:
        freshlens watch
        freshlens watch release shop/importer-2
    """
    if ctx.invoked_subcommand is not None:
        return
    context: Context = ctx.obj
    store = context.store()
    report, holds = read_report(store, context.kafka().lane), Holds(store).all()
    if as_json:
        click.echo(json.dumps({"report": msgspec.to_builtins(report), "holds": msgspec.to_builtins(holds)}))
        return
    if report is None:
        click.echo("nothing was watched yet: the feedback worker does it (FRESHLENS_WATCH_WINDOW_S)")
    else:
        table = Table("source", "events", "shares")
        for source in report.sources:
            told = (
                _said_of(name, measure) for name, measure in source.measures.items() if measure.value or measure.norm
            )
            table.add_row(escape(source.source), str(source.events), ", ".join(told))
        Console().print(table)
    for hold in holds.values():
        click.echo(_said(hold))


@watch_group.command("hold")
@click.argument("source")
@click.option("--reason", default="by hand", show_default=True, help="Why; it stands in every dead letter.")
@click.pass_obj
def hold_command(context: Context, source: str, reason: str) -> None:
    """Hold a source: from now on its events are kept as dead letters instead of being indexed. Deletions still count.

    \b
    Example:
        freshlens watch hold shop/importer-2 --reason "wrong pictures since Monday"
    """
    check_tenant(source.partition("/")[0])
    Holds(context.store()).hold(source, reason, time.time_ns() // 1000)
    record(context, "hold-source", source, reason=reason)
    click.echo(f"{source} is held within {LOOK_EVERY_S:.0f} s")


@watch_group.command("release")
@click.argument("source")
@click.option(
    "--for",
    "minutes",
    type=click.IntRange(0),
    default=60,
    show_default=True,
    help="So many minutes the watch does not hold it again.",
)
@click.pass_obj
def release_command(context: Context, source: str, minutes: int) -> None:
    """Let a source through again, with everything that was kept meanwhile. Doing it twice does no harm.

    \b
    Example:
        freshlens watch release shop/importer-2
    """
    store, kafka = context.store(), context.kafka()
    holds, registry = Holds(store), open_registry(kafka)
    hold = holds.of(source)
    if hold is None:
        raise NotFound(f"{source} is not held; held are: {', '.join(holds.all()) or 'none'}")
    holds.release(hold, time.time_ns() // 1000 + minutes * 60_000_000)
    record(context, "release-source", source, minutes=minutes)
    time.sleep(_FOLLOWED_S)  # until then a worker may still add to what is kept
    sent, refused = watching.send_through(kafka, watching.kept_of(kafka, store, registry, hold), replayer(context))
    click.echo(f"{source} is released: {sent} events sent through again, {refused} refused")
    if refused:
        raise click.exceptions.Exit(1)


def _said_of(name: str, measure: Shown) -> str:
    norm = "" if measure.norm is None else f" ({measure.norm:.1%})"
    return f"{'! ' if measure.alarming else ''}{name} {measure.value:.1%}{norm}"


def _said(hold: Hold) -> str:
    since = _time(hold.since)
    if hold.released_until is None:
        return f"held since {since}: {hold.source}: {hold.reason} (`freshlens watch release {hold.source}`)"
    return f"was held from {since}: {hold.source}: {hold.reason}; not held again until {_time(hold.released_until)}"


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
