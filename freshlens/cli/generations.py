"""``freshlens compact`` and ``freshlens generations``: what the index nodes serve, made anew or taken back."""

import time
from typing import TYPE_CHECKING

import click
from rich import box
from rich.console import Console
from rich.table import Table

from freshlens.cli.audit import record
from index_nodes.compaction import changes, compaction, inventory, publication
from index_nodes.compaction import report as reports
from index_nodes.generations import heads, manifest
from index_nodes.replicas.log import KafkaLog
from index_nodes.replicas.replica import load_generation
from index_nodes.settings import CompactorSettings
from index_nodes.status import read_statuses
from schemas.errors import HeadExists, StorageError
from topics.store import ObjectStore

if TYPE_CHECKING:
    from freshlens.cli.context import Context
from freshlens.cli.printing import print_json

_WAIT_S = 120.0
_POLL_S = 0.5
_SHORT = 20
"""Characters of a build's name that tell it from the others."""
_SERVING = "serving"
_ALIVE_US = 10_000_000

shard_option = click.option("--shard", type=click.IntRange(0, 1023), default=0, show_default=True, help="Which shard.")


@click.command("compact")
@click.option("--wait", is_flag=True, help="Return when every live node serves the new generation.")
@click.pass_obj
def compact_command(context: "Context", wait: bool) -> None:
    """Fold index-log into a new generation of every shard, here and now.

    \b
    Example:
        freshlens compact --wait
    """
    settings = CompactorSettings.from_env(context.shell_environ())
    lane, log, store = settings.lane, KafkaLog(settings.kafka), context.store()
    published: dict[int, int] = {}
    for shard in range(lane.layout.shards):
        try:
            with Console(stderr=True).status(f"shard {shard}: starting") as status:
                report = compaction.compact_once(
                    log,
                    store,
                    lane,
                    shard,
                    policy=settings.build,
                    on_stage=lambda stage, shard=shard: status.update(f"shard {shard}: {stage}"),  # type: ignore[misc]
                )
        except HeadExists:
            click.echo(f"shard {shard}: the compactor published a generation meanwhile, and this one was dropped")
        else:
            click.echo(report.summary)
            for key in report.pages[-1:]:
                click.echo(f"report {context.store_url().rstrip('/')}/{key}")
        newest = heads.newest_head(store, lane, shard)
        published[shard] = newest.seq if newest else 0
    if wait:
        _wait_until_served(context, published)


@click.group("generations")
def generations_group() -> None:
    """List, show and compare generations, go back to an older one, or accept a rejected one.

    \b
    Example:
        freshlens generations list
    """


@generations_group.command("list")
@shard_option
@click.pass_obj
def list_command(context: "Context", shard: int) -> None:
    """Show every build of a shard, by the time (UTC) it was begun: served, retiring, rejected, under way.

    \b
    Example:
        freshlens generations list
    """
    lane, store = context.lane(), context.store()
    found = inventory.read_inventory(store, lane, shard)
    table = Table("head", "build", "state", "products", "rows", "recall@10", "why", box=box.SIMPLE)
    for head in found.heads:
        figures = _figures(store, shard, head.build, head.manifest_checksum)
        table.add_row(str(head.seq), head.build[:_SHORT], found.state_of(head.build).value, *figures, head.reason)
    for build in sorted(set(found.builds) - {head.build for head in found.heads}):
        rejection, state = found.rejections.get(build), found.state_of(build).value
        figures = "", "", ""
        if rejection and build in found.files:
            figures = _figures(store, shard, build, rejection.manifest_checksum)
        table.add_row("", build[:_SHORT], state, *figures, "; ".join(rejection.reasons) if rejection else "")
    Console().print(table)


@generations_group.command("show")
@click.argument("seq", type=click.IntRange(1))
@shard_option
@click.option("--report", is_flag=True, help="Print the report of its compaction instead, and where the page of it is.")
@click.pass_obj
def show_command(context: "Context", seq: int, shard: int, report: bool) -> None:
    """Print a head and its manifest as JSON, after comparing every file with it.

    \b
    Example:
        freshlens generations show 3
    """
    lane, store = context.lane(), context.store()
    if report:
        as_json, as_html = reports.report_keys(lane, shard, seq)
        if not store.exists(as_json):
            raise click.ClickException(f"head {seq} has no report: it is a rollback, was accepted, or never was")
        click.echo(store.get(as_json).decode())
        click.echo(f"as a page: {context.store_url().rstrip('/')}/{as_html}", err=True)
        return
    head = heads.read_head(store, lane, shard, seq)
    made = manifest.read_manifest(store, shard, head.build, head.manifest_checksum)
    manifest.check_files(store, made)
    print_json({"head": head, "manifest": made})


@generations_group.command("diff")
@click.argument("before", type=click.IntRange(1))
@click.argument("after", type=click.IntRange(1))
@shard_option
@click.option("-n", "examples", type=click.IntRange(0), default=20, show_default=True, help="How many of each to name.")
@click.pass_obj
def diff_command(context: "Context", before: int, after: int, shard: int, examples: int) -> None:
    """Show which products one head has that another has not, and which have other versions.

    \b
    Example:
        freshlens generations diff 2 3
    """
    lane, store = context.lane(), context.store()
    old, new = (
        load_generation(store, lane, shard, heads.read_head(store, lane, shard, seq)) for seq in (before, after)
    )
    found = changes.changes_between(old, new, examples)
    table = Table("product", f"head {before}", f"head {after}")
    for change in (*found.added_first, *found.removed_first, *found.changed_first):
        table.add_row(change.product, *("-" if each is None else str(each) for each in (change.before, change.after)))
    if table.row_count:
        Console().print(table)
    click.echo(f"{found.added} added, {found.removed} removed, {found.changed} changed")


@generations_group.command("rollback")
@click.argument("seq", type=click.IntRange(1))
@shard_option
@click.option("--wait", is_flag=True, help="Return when every live node serves it.")
@click.pass_obj
def rollback_command(context: "Context", seq: int, shard: int, wait: bool) -> None:
    """Serve the build of head SEQ again, and apply the log behind it: nothing published since is lost.

    \b
    Example:
        freshlens generations rollback 2 --wait
    """
    lane, store = context.lane(), context.store()
    head = publication.roll_back(KafkaLog(context.kafka()), store, lane, shard, seq)
    record(context, "generation-rolled-back", f"shard {shard}", head=head.seq, to=seq, build=head.build)
    click.echo(f"shard {shard}: head {head.seq} is the build of head {seq}")
    if wait:
        _wait_until_served(context, {shard: head.seq})


@generations_group.command("accept")
@click.argument("build")
@shard_option
@click.option("--reason", required=True, help="Why its faults are acceptable; it is kept in the head.")
@click.option("--wait", is_flag=True, help="Return when every live node serves it.")
@click.pass_obj
def accept_command(context: "Context", build: str, shard: int, reason: str, wait: bool) -> None:
    """Publish the BUILD that was rejected last (or the beginning of its name) all the same.

    \b
    Example:
        freshlens generations accept 20261120T030000 --reason "the sampled queries are odd"
    """
    lane, store = context.lane(), context.store()
    head = publication.accept(KafkaLog(context.kafka()), store, lane, shard, build, reason)
    record(context, "generation-accepted", f"shard {shard}", head=head.seq, build=head.build, reason=reason)
    click.echo(f"shard {shard}: head {head.seq} is build {head.build}")
    if wait:
        _wait_until_served(context, {shard: head.seq})


def _figures(store: ObjectStore, shard: int, build: str, checksum: str) -> tuple[str, str, str]:
    try:
        made = manifest.read_manifest(store, shard, build, checksum)
    except StorageError as error:
        return f"[red]{error.code}[/]", "", ""
    return str(made.products), str(made.rows), f"{made.index.recall_at_10:.3f}"


def _wait_until_served(context: "Context", published: dict[int, int]) -> None:
    lane, kafka = context.lane(), context.kafka()
    deadline = time.monotonic() + _WAIT_S
    while True:
        alive_since_us = time.time_ns() // 1000 - _ALIVE_US
        behind = sorted(
            status.node_id
            for status in read_statuses(kafka).values()
            if (status.lane, status.layout_id, status.state) == (lane.name, lane.layout.layout_id, _SERVING)
            and status.reported_at >= alive_since_us
            and status.generation < published.get(status.shard, 0)
        )
        if not behind:
            return
        if time.monotonic() > deadline:
            raise click.ClickException(f"not served after {_WAIT_S:.0f} s by {', '.join(behind)}: see `freshlens logs`")
        time.sleep(_POLL_S)
