"""``freshlens log``: what an operator decides about index-log itself."""

import time
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from freshlens.cli.audit import record
from index_nodes.replicas.log import KafkaLog
from index_nodes.replicas.voids import VoidMark, Voids
from schemas import index_log
from schemas.errors import LogRecordUnreadable
from schemas.lane import Lane
from schemas.layout import NextOffset

if TYPE_CHECKING:
    from freshlens.cli.context import Context

_READ_S = 10.0


@click.group("log")
def log_group() -> None:
    """Give up records of index-log that no program here can read.

    \b
    Example:
        freshlens log voids
    """


@log_group.command("void")
@click.argument("partition", type=click.IntRange(0))
@click.argument("offset", type=click.IntRange(0))
@click.option("--reason", required=True, help="Kept with the mark.")
@click.pass_obj
def void_command(context: "Context", partition: int, offset: int, reason: str) -> None:
    """Pass over the unreadable record at PARTITION and OFFSET, in every node and compaction, for good.

    A record of a newer program stops a node, since going on without it would lose it. Upgrade the node if you can.

    \b
    Example:
        freshlens log void 3 1042 --reason "written by a test of 2.0"
    """
    lane, log = context.lane(), KafkaLog(context.kafka())
    _check_unreadable(log, lane, partition, offset)
    mark = VoidMark(partition, offset, reason, time.time_ns() // 1000)
    is_new = Voids(context.store(), lane, log.log_id()).add(mark)
    record(context, "log-record-voided", f"index-log {partition}@{offset}", reason=reason)
    click.echo(f"index-log {partition} at {offset} is void" if is_new else "it was void before")


@log_group.command("voids")
@click.pass_obj
def voids_command(context: "Context") -> None:
    """List the records that were given up.

    \b
    Example:
        freshlens log voids
    """
    table = Table("partition", "offset", "why")
    for mark in Voids(context.store(), context.lane(), KafkaLog(context.kafka()).log_id()).all():
        table.add_row(str(mark.partition), str(mark.offset), mark.reason)
    Console().print(table)


def _check_unreadable(log: KafkaLog, lane: Lane, partition: int, offset: int) -> None:
    """Do nothing if the record cannot be read here; raises UsageError if it can, and if there is none."""
    bounds = log.bounds()
    if partition not in bounds.end or not bounds.begin[partition] <= offset < bounds.end[partition]:
        raise click.UsageError(f"index-log has no record at partition {partition}, offset {offset}")
    reader, deadline = log.reader({partition: NextOffset(offset)}), time.monotonic() + _READ_S
    try:
        while time.monotonic() < deadline:
            for entry in reader.read(0.5).entries:
                if entry.offset != offset:
                    break
                index_log.read(entry.raw, partition=partition, layout=lane.layout, space=lane.space)
                raise click.UsageError("that record can be read, so nothing waits for it")
    except LogRecordUnreadable:
        return
    finally:
        reader.close()
    raise click.UsageError(f"there is no record at {offset}, only a gap")
