"""``freshlens compact`` and ``freshlens generations``: what the index nodes serve, made anew or taken back."""

import time
from datetime import datetime
from typing import TYPE_CHECKING

import click
import msgspec
from rich.console import Console
from rich.table import Table

from index_nodes import compaction, heads, manifest
from index_nodes.log import KafkaLog
from index_nodes.status import read_statuses
from schemas.errors import StorageError

if TYPE_CHECKING:
    from freshlens.cli.context import Context

_WAIT_S = 120.0
_POLL_S = 0.5
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
    lane, log, store = context.lane(), KafkaLog(context.kafka()), context.store()
    published: dict[int, int] = {}
    for shard in range(lane.layout.shards):
        report = compaction.compact_once(log, store, lane, shard)
        click.echo(report.summary)
        newest = report.head or heads.newest_head(store, lane, shard)
        published[shard] = newest.seq if newest else 0
    if wait:
        _wait_until_served(context, published)


@click.group("generations")
def generations_group() -> None:
    """List and show generations, and go back to an older one.

    \b
    Example:
        freshlens generations list
    """


@generations_group.command("list")
@shard_option
@click.pass_obj
def list_command(context: "Context", shard: int) -> None:
    """Show every head of a shard; the last one is served.

    \b
    Example:
        freshlens generations list
    """
    lane, store = context.lane(), context.store()
    table = Table("head", "made at", "build", "products", "rows", "recall@10", "why")
    for seq in heads.head_numbers(store, lane, shard):
        head = heads.read_head(store, lane, shard, seq)
        made_at = datetime.fromtimestamp(head.created_at_us / 1e6).astimezone().isoformat(" ", "seconds")
        try:
            made = manifest.read_manifest(store, shard, head.build, head.manifest_checksum)
            figures = (str(made.products), str(made.rows), f"{made.index.recall_at_10:.3f}")
        except StorageError as error:
            figures = (f"[red]{error.code}[/]", "", "")
        table.add_row(str(seq), made_at, head.build[:8], *figures, head.reason)
    Console().print(table)


@generations_group.command("show")
@click.argument("seq", type=click.IntRange(1))
@shard_option
@click.pass_obj
def show_command(context: "Context", seq: int, shard: int) -> None:
    """Print a head and its manifest as JSON, after comparing every file with it.

    \b
    Example:
        freshlens generations show 3
    """
    lane, store = context.lane(), context.store()
    head = heads.read_head(store, lane, shard, seq)
    made = manifest.read_manifest(store, shard, head.build, head.manifest_checksum)
    manifest.check_files(store, made)
    click.echo(msgspec.json.format(msgspec.json.encode({"head": head, "manifest": made}), indent=2).decode())


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
    head = compaction.roll_back(KafkaLog(context.kafka()), store, lane, shard, seq)
    click.echo(f"shard {shard}: head {head.seq} is the build of head {seq}")
    if wait:
        _wait_until_served(context, {shard: head.seq})


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
