"""``freshlens export``: searches, clicks, search quality and training pairs as Parquet."""

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from freshlens.cli.context import Context
from schemas.errors import SettingsError

TOPICS = ("searches", "clicks", "search-quality", "training-pairs")


@click.command("export")
@click.argument("topic", type=click.Choice(TOPICS))
@click.option("--to", "folder", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder.")
@click.pass_obj
def export_command(context: Context, topic: str, folder: Path) -> None:
    """Write a topic to a Parquet file in a folder, of all tenants; the next run writes what came since to another.

    \b
    Example:
        freshlens export clicks --to exports
        duckdb -c "SELECT kind, count(*) FROM 'exports/clicks-*.parquet' GROUP BY kind"
    """
    try:
        from freshlens.exporting import export
    except ModuleNotFoundError as error:
        raise SettingsError(f"export needs {error.name}: pip install 'freshlens[server]'") from error

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"export {topic}", total=None)
        done = export(context.kafka(), topic, folder, lambda rows, total: bar.update(task, completed=rows, total=total))
    if done.expired:
        click.echo(f"warning: {done.expired} records had been removed from the topic before this run", err=True)
    if done.undecodable:
        click.echo(f"warning: {done.undecodable} records are not readable and were left out", err=True)
    click.echo(f"{done.rows} rows to {done.path}" if done.path else f"nothing new in {topic}")
