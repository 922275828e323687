"""``freshlens topics``: create the topics, and compare them with what is declared."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
from confluent_kafka.admin import AdminClient
from rich.console import Console
from rich.table import Table

from schemas.layout import Layout
from topics import administration, clients, verification
from topics.declarations import DAY_MS, FOREVER_MS, TOMBSTONE_MS, Topic
from topics.settings import KafkaSettings

if TYPE_CHECKING:
    from freshlens.cli.context import Context

_COLOURS = {"error": "red", "warning": "yellow"}

partitions_option: Callable[..., Any] = click.option(
    "--partitions",
    type=click.IntRange(1, 1024),
    envvar="FRESHLENS_PARTITIONS",
    default=Layout().partitions,
    show_default=True,
    help="Partitions of index-log: those of your layout.",
)


@click.group("topics")
def topics_group() -> None:
    """Create, compare and check the Kafka topics.

    \b
    Example:
        freshlens topics create && freshlens topics verify
    """


@topics_group.command("create")
@partitions_option
@click.pass_obj
def create_command(context: "Context", partitions: int) -> None:
    """Create every topic that does not exist; change none that does.

    \b
    Example:
        KAFKA_BOOTSTRAP_SERVERS=kafka:9092 freshlens topics create
    """
    settings, admin = _connected(context)
    created = administration.create_topics(admin, settings, Layout(partitions=partitions))
    for name in created:
        click.echo(f"created {name}")
    click.echo(f"{len(created)} created, {len(_wanted(settings, partitions)) - len(created)} already there")


@topics_group.command("list")
@partitions_option
@click.pass_obj
def list_command(context: "Context", partitions: int) -> None:
    """Show every declared topic, and whether it exists.

    \b
    Example:
        freshlens topics list
    """
    settings, admin = _connected(context)
    wanted = _wanted(settings, partitions)
    existing = administration.existing_topics(admin, list(wanted))
    table = Table("topic", "exists", "partitions", "kept", "cleanup", "from", "to", "what it carries")
    for name, topic in wanted.items():
        table.add_row(
            name,
            "yes" if name in existing else "[red]no[/]",
            str(existing[name].partitions if name in existing else topic.partitions),
            "for ever" if topic.retention_ms == FOREVER_MS else f"{topic.retention_ms / DAY_MS:.3g} d",
            topic.cleanup,
            ", ".join(topic.producers),
            ", ".join(topic.consumers),
            topic.description,
        )
    Console().print(table)


@topics_group.command("diff")
@partitions_option
@click.pass_obj
def diff_command(context: "Context", partitions: int) -> None:
    """Show what differs between the declared topics and the cluster; exit 1 if anything does.

    \b
    Example:
        freshlens topics diff
    """
    settings, admin = _connected(context)
    wanted = _wanted(settings, partitions)
    found = verification.differences(wanted, administration.existing_topics(admin, list(wanted)))
    if not found:
        click.echo(f"{len(wanted)} topics are as declared")
        return
    table = Table("topic", "setting", "declared", "on the cluster")
    for difference in found:
        table.add_row(difference.topic, difference.setting, difference.declared, difference.actual or "unset")
    Console().print(table)
    raise click.exceptions.Exit(1)


@topics_group.command("verify")
@partitions_option
@click.option(
    "--tombstone-days",
    type=click.IntRange(1),
    envvar="FRESHLENS_TOMBSTONE_DAYS",
    default=TOMBSTONE_MS // DAY_MS,
    show_default=True,
    help="How long the compactor remembers deletions.",
)
@click.pass_obj
def verify_command(context: "Context", partitions: int, tombstone_days: int) -> None:
    """Say what differs and what that would do, and check the relations between retentions; exit 1 on an error.

    \b
    Example:
        freshlens topics verify
    """
    settings, admin = _connected(context)
    wanted = _wanted(settings, partitions)
    existing = administration.existing_topics(admin, list(wanted))
    findings = verification.verify(wanted, existing, tombstone_days * DAY_MS)
    if findings:
        table = Table("", "code", "topic", "what")
        for finding in findings:
            severity = f"[{_COLOURS[finding.severity]}]{finding.severity}[/]"
            table.add_row(severity, finding.code, finding.topic, finding.message)
        Console().print(table)
    errors = sum(finding.severity == "error" for finding in findings)
    click.echo(f"{len(wanted)} topics checked: {errors} errors, {len(findings) - errors} warnings")
    if errors:
        raise click.exceptions.Exit(1)


def _connected(context: "Context") -> tuple[KafkaSettings, AdminClient]:
    settings = context.kafka()
    return settings, clients.admin(settings)


def _wanted(settings: KafkaSettings, partitions: int) -> Mapping[str, Topic]:
    return administration.declared_by_full_name(settings, Layout(partitions=partitions))
