"""``freshlens blocklist``: pictures that nobody may show or look for."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from freshlens.cli.audit import operator, record
from freshlens.cli.context import Context
from processors.pictures.blocklist import EVERY_TENANT, BlockEntry, BlockListStore, hashes_of, is_hash
from schemas.errors import SettingsError

_ALL = click.option("--all-tenants", is_flag=True, help="For every tenant rather than the one of --tenant.")


@click.group("blocklist")
def blocklist_group() -> None:
    """Block pictures, by how they look: neither products nor queries may show one that looks the same.

    \b
    Example:
        freshlens blocklist add stolen.jpg --tenant shop
    """


@blocklist_group.command("add")
@click.argument("picture", metavar="FILE|HASH")
@_ALL
@click.option("--note", default="", help="Why, for whoever lists it.")
@click.pass_obj
def add_command(context: Context, picture: str, all_tenants: bool, note: str) -> None:
    """Block a picture, turned and mirrored too; or a perceptual hash, 16 hexadecimal digits, as it is.

    Workers, the query encoder and the API know it within some seconds. A product whose first picture it is is no
    longer found; published again, it is indexed without that picture (picture-blocked).

    \b
    Example:
        freshlens blocklist add stolen.jpg --tenant shop --note "complaint 17"
    """
    hashes = (picture,) if is_hash(picture) else _hashes_of_file(Path(picture))
    tenant = EVERY_TENANT if all_tenants else context.tenant
    entry = BlockEntry(hashes[0], tenant, hashes, time.time_ns() // 1000, operator(), note)
    is_new = BlockListStore(context.store()).add(entry)
    record(context, "blocklist-add", entry.id, tenant=tenant, note=note)
    click.echo(f"blocked {entry.id}" if is_new else f"{entry.id} was blocked before")


@blocklist_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@click.pass_obj
def list_command(context: Context, as_json: bool) -> None:
    """List what is blocked, oldest first, of all tenants.

    \b
    Example:
        freshlens blocklist list
    """
    entries = BlockListStore(context.store()).entries()
    if as_json:
        for entry in entries:
            click.echo(json.dumps(msgspec.to_builtins(entry)))
        return
    table = Table("hash", "tenant", "added", "by", "note")
    for entry in entries:
        added = datetime.fromtimestamp(entry.added_at_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(entry.id, entry.tenant, added, entry.added_by, entry.note)
    Console().print(table)


@blocklist_group.command("remove")
@click.argument("entry_id", metavar="HASH")
@_ALL
@click.pass_obj
def remove_command(context: Context, entry_id: str, all_tenants: bool) -> None:
    """Allow a picture again, by its hash in the list. What was refused meanwhile can be replayed.

    \b
    Example:
        freshlens blocklist remove 0123456789abcdef --tenant shop
        freshlens dead-letters replay --code picture-blocked
    """
    if not is_hash(entry_id):
        raise click.UsageError(f"{entry_id!r} is not a hash of 16 hexadecimal digits, as `blocklist list` shows them")
    tenant = EVERY_TENANT if all_tenants else context.tenant
    if not BlockListStore(context.store()).remove(tenant, entry_id):
        raise SettingsError(f"{entry_id} is not on the block list of {tenant}; see `freshlens blocklist list`")
    record(context, "blocklist-remove", entry_id, tenant=tenant)
    click.echo(f"allowed {entry_id}")


def _hashes_of_file(file: Path) -> tuple[str, ...]:
    if not file.is_file():
        raise click.UsageError(f"{str(file)!r} is neither a file nor a hash of 16 hexadecimal digits")
    return hashes_of(file.read_bytes())
