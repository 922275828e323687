"""``freshlens backfill``: a whole catalogue from Parquet or JSON lines."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from freshlens.cli.context import Context
from freshlens.cli.numbers import FiniteRange
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from freshlens.backfill.preparing import Prepared
    from freshlens.backfill.reconcile import Plan
    from freshlens.backfill.rows import Loaded

SHOWN_MAX = 20
SHARE_MAX_PERCENT = 20.0


@dataclass
class Tally:
    """What became of the rows so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    encoded: int = 0

    def add(self, name: str, rows: "Iterable[Loaded]", encoded: int = 0) -> None:
        """Count rows of the file ``name``."""
        self.encoded += encoded
        for row in rows:
            self.outcomes[row.outcome] += 1
            if row.outcome == "refused":
                self.codes[row.code] += 1
                if len(self.complaints) < SHOWN_MAX:
                    product = f" ({row.product_id})" if row.product_id else ""
                    self.complaints.append(f"{name}:{row.number}{product}: {row.code}: {row.reason}")


@click.command("backfill")
@click.argument("source", metavar="FILE|DIR|s3://...")
@click.option("--as-of", metavar="TIME", help="When the dump was made; the version of rows that have none.")
@click.option("--popularity", metavar="COLUMN", help="Load the rows with the greatest number in it first.")
@click.option("--reconcile", is_flag=True, help="At the end delete what the index has and the dump has not.")
@click.option(
    "--allow",
    "allow_percent",
    type=FiniteRange(0, 100),
    default=SHARE_MAX_PERCENT,
    show_default=True,
    help="Percent of all products that --reconcile may delete.",
)
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@click.option("--dry-run", is_flag=True, help="Only check every row, and count what would be deleted.")
@click.option("--embeddings", metavar="DIR|s3://...", help="Where embeddings are kept as Parquet.")
@click.option("--ray-address", metavar="ADDRESS", help="A Ray cluster; default: processes on this machine.")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Each with a model of its own."
)
@click.pass_obj
def backfill_command(
    context: Context,
    source: str,
    as_of: str | None,
    popularity: str | None,
    reconcile: bool,
    allow_percent: float,
    yes: bool,
    dry_run: bool,
    embeddings: str | None,
    ray_address: str | None,
    workers: int,
) -> None:
    """Load a whole catalogue beside live events: Parquet, or JSON lines as `freshlens publish` takes them.

    Run it again after a crash: it goes on where it was, and embeds nothing twice. Rows that cannot be loaded become
    dead letters, and the exit code is 1.

    \b
    Example:
        freshlens backfill catalogue.parquet --as-of 2026-03-01T06:00+01:00 --popularity clicks
        freshlens backfill s3://shop/dumps/today --as-of 2026-03-01T06:00Z --reconcile
    """
    if reconcile and as_of is None:
        raise click.UsageError("--reconcile needs --as-of: deletes have the version of the dump")
    prepared = _prepared(context, source, as_of=as_of, popularity=popularity, embeddings=embeddings)
    began = time.monotonic()
    tally = _checked(prepared) if dry_run else _loaded(prepared, ray_address, workers)
    _report(tally, time.monotonic() - began, dry_run=dry_run)
    if reconcile:
        _reconcile(prepared, allow_percent / 100, yes=yes, dry_run=dry_run)
    sys.exit(1 if tally.outcomes["refused"] else 0)


def _prepared(
    context: Context, source: str, *, as_of: str | None, popularity: str | None, embeddings: str | None
) -> "Prepared":
    try:
        from freshlens.backfill.preparing import prepare
        from freshlens.processes import with_space
        from streams.settings import StreamsSettings
    except ModuleNotFoundError as error:
        raise SettingsError(f"a back-fill needs {error.name}: pip install 'freshlens[server,backfill]'") from error

    environ = context.shell_environ()
    with Console(stderr=True).status("looking at the dump"):
        return prepare(
            source,
            context.tenant,
            StreamsSettings.from_env(with_space(environ)),
            environ,
            as_of=as_of,
            popularity=popularity,
            embeddings=embeddings,
        )


def _checked(prepared: "Prepared") -> Tally:
    tally = Tally()
    with _progress() as progress:
        bar = progress.add_task("check", total=prepared.rows)
        for name, row in prepared.checked():
            tally.add(name, [row])
            progress.advance(bar)
    return tally


def _loaded(prepared: "Prepared", ray_address: str | None, workers: int) -> Tally:
    from freshlens.backfill.journal import open_journal
    from freshlens.backfill.pipeline import load, tasks_of

    tally = Tally()
    files = prepared.job.dump.files
    with open_journal(prepared.job.settings.data / "backfill" / "journals", prepared.fingerprint) as journal:
        tally.outcomes.update(journal.outcomes)
        if journal.done:
            click.echo(f"going on after {journal.done:,} of {prepared.rows:,} rows", err=True)
        tasks = tasks_of(prepared.slices, journal)
        with _progress() as progress:
            bar = progress.add_task("backfill", total=prepared.rows - journal.done)
            for done in load(prepared.job, tasks, address=ray_address, workers=workers):
                journal.add(done)
                tally.add(files[done.file].name, done.rows, done.encoded)
                progress.advance(bar, len(done.rows))
        journal.remove()
    return tally


def _reconcile(prepared: "Prepared", share_max: float, *, yes: bool, dry_run: bool) -> None:
    from freshlens.backfill import reconcile

    job = prepared.job
    settings, as_of = job.settings, job.date.as_of
    assert as_of is not None, "checked with the options"
    with Console(stderr=True).status("comparing the index with the dump"):
        plan = reconcile.plan_of(job, prepared.slices)
    _tell(plan)
    if dry_run or not plan.delete:
        return
    plan.check(share_max)
    if not yes:
        click.confirm(f"Delete {len(plan.delete):,} products?", abort=True)
    reconcile.carry_out(plan, job.tenant, as_of, "not in the dump any more", settings)
    click.echo(f"{len(plan.delete):,} deletes published")


def _tell(plan: "Plan") -> None:
    click.echo(
        f"the dump lacks {len(plan.delete):,} of {plan.visible:,} products ({plan.share:.1%}); "
        f"{plan.newer:,} more were changed after it, and stay"
    )
    for product_id in plan.delete[:SHOWN_MAX]:
        click.echo(f"  {product_id}", err=True)
    if len(plan.delete) > SHOWN_MAX:
        click.echo(f"  … and {len(plan.delete) - SHOWN_MAX:,} more", err=True)


def _report(tally: Tally, seconds: float, *, dry_run: bool) -> None:
    total = sum(tally.outcomes.values())
    table = Table("rows", "count", box=None, pad_edge=False)
    for name, count in named(tally, dry_run=dry_run):
        table.add_row(name, f"{count:,}")
    table.add_row("in all", f"{total:,}")
    Console().print(table)
    for complaint in tally.complaints:
        click.echo(f"  {complaint}", err=True)
    if (more := tally.outcomes["refused"] - len(tally.complaints)) > 0:
        click.echo(f"  … and {more:,} more: freshlens dead-letters list", err=True)
    click.echo(f"{total:,} rows in {seconds:.1f} s ({total / max(seconds, 1e-9):,.0f}/s)")


def named(tally: Tally, *, dry_run: bool) -> Iterator[tuple[str, int]]:
    names = {"indexed": "indexed", "offer": "offer only", "retry": "waiting for pictures"}
    for outcome, name in names.items():
        if tally.outcomes[outcome]:
            yield f"would be {name}" if dry_run else name, tally.outcomes[outcome]
    for code, count in tally.codes.most_common():
        yield f"refused: {code}", count
    if earlier := tally.outcomes["refused"] - tally.codes.total():
        yield "refused: before it was stopped", earlier
    if not dry_run:
        yield "embedded by the model", tally.encoded


class _Rate(ProgressColumn):
    """Rows per second, lately."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=not sys.stderr.isatty(),
    )
