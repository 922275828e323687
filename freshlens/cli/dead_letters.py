"""``freshlens dead-letters``: list, show and replay what could not be processed, and resume what was paused by it."""

import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from freshlens import dead_letters
from freshlens.cli.audit import record
from freshlens.cli.context import Context
from freshlens.cli.moments import MOMENT
from freshlens.dead_letters import Found, Replay, Selection
from schemas.environment import Environment
from schemas.errors import InvalidRecord, NotFound
from schemas.identity import product_key
from streams import faults
from topics.registry import open_registry
from topics.settings import tombstone_ms
from topics.tenants import TenantDirectory

_BATCH = 500
_CODE = click.option("--code", help="Only those with this code; see docs/errors.md.")
_PRODUCT = click.option("--product", "product_id", help="Only those of this product of --tenant.")
_SINCE = click.option("--since", type=MOMENT, help="Only those that failed since: 30m, 2h, 7d, or a time (UTC).")
_UNTIL = click.option("--until", type=MOMENT, help="Only those that failed before: as --since.")


@click.group("dead-letters")
def dead_letters_group() -> None:
    """List, show and replay the records that could not be processed.

    \b
    Example:
        freshlens dead-letters list --code undecodable-image
    """


@dead_letters_group.command("list")
@_CODE
@_PRODUCT
@_SINCE
@_UNTIL
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Show the newest so many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.pass_obj
def list_command(
    context: Context,
    code: str | None,
    product_id: str | None,
    since: int | None,
    until: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """List dead letters, newest first.

    \b
    Example:
        freshlens --tenant shop dead-letters list --product mug-1
        freshlens dead-letters list --code internal --since 2h
    """
    every = list(dead_letters.find(context.kafka(), _selection(context, (), code, product_id, since, until)))
    newest = sorted(every, key=lambda found: -found.letter.failed_at)[:limit]
    if as_json:
        for found in newest:
            click.echo(json.dumps(_summary(found)))
        return
    Console().print(_table(newest))
    counts = Counter(found.letter.code for found in every)
    click.echo(f"{len(every)} dead letters" + "".join(f", {count} {code}" for code, count in counts.most_common()))


@dead_letters_group.command("show")
@click.argument("letter_id", metavar="ID")
@click.pass_obj
def show_command(context: Context, letter_id: str) -> None:
    """Show one dead letter whole, as JSON. ID is as `list` shows it, PARTITION:OFFSET.

    \b
    Example:
        freshlens dead-letters show 3:17
    """
    kafka = context.kafka()
    found = next(dead_letters.find(kafka, Selection(ids=frozenset([letter_id]))), None)
    if found is None:
        raise NotFound(f"there is no dead letter {letter_id}; see `freshlens dead-letters list`")
    letter = msgspec.to_builtins(found.letter)
    try:
        raw = dead_letters.original(found.letter, context.store())
        letter["value"] = base64.b64encode(raw).decode()
        letter["decoded"] = msgspec.to_builtins(dead_letters.decoded(found.letter, raw, open_registry(kafka)))
    except InvalidRecord as error:
        letter["value"] = f"({error.message})"
    click.echo(json.dumps({"id": found.id, **letter}, indent=2, ensure_ascii=False))


@dead_letters_group.command("replay")
@click.argument("letter_ids", metavar="[ID]...", nargs=-1)
@_CODE
@_PRODUCT
@_SINCE
@_UNTIL
@click.option("--all", "every", is_flag=True, help="All of them.")
@click.option("--limit", type=click.IntRange(1), help="At most so many, oldest first.")
@click.pass_obj
def replay_command(
    context: Context,
    letter_ids: tuple[str, ...],
    code: str | None,
    product_id: str | None,
    since: int | None,
    until: int | None,
    every: bool,
    limit: int | None,
) -> None:
    """Send dead letters through again, with the versions they had; exit 1 if some still cannot be processed.

    Replaying twice does no harm: a version that was seen changes nothing. What failed again after a replay has several
    letters, and is sent once.

    \b
    Example:
        freshlens dead-letters replay --code image-source-unavailable
        freshlens dead-letters replay 3:17 3:18
        freshlens dead-letters replay --since 2027-01-31T10:00 --until 2027-01-31T11:30
    """
    if not (letter_ids or code or product_id or since or until or every):
        raise click.UsageError("say which: ID..., --code, --product, --since, --until, or --all")
    kafka = context.kafka()
    found = dead_letters.find(kafka, _selection(context, letter_ids, code, product_id, since, until))
    oldest = sorted(found, key=lambda each: each.letter.failed_at)[:limit]
    replay, once = replayer(context), dead_letters.Once()
    refused = 0
    for start in range(0, len(oldest), _BATCH):
        replays = [replay(each) for each in oldest[start : start + _BATCH]]
        made = [each for each in replays if each is not None]
        refused += len(replays) - len(made)
        dead_letters.send(kafka, [each for each in made if once.is_new(each)])
    click.echo(f"{once.count} replayed, {refused} refused")
    if refused:
        raise click.exceptions.Exit(1)


@dead_letters_group.command("accept")
@click.argument("workers", metavar="[WORKER]...", nargs=-1)
@click.option(
    "--records", type=click.IntRange(0), default=0, show_default=True, help="Let so many pass before it counts again."
)
@click.pass_obj
def accept_command(context: Context, workers: tuple[str, ...], records: int) -> None:
    """Resume the workers that `dead-letter-limit` paused, or these of them: what they held back becomes dead letters.

    A worker is paused when more than 50 of its last 1,000 records failed by our own fault. After a repair no accept is
    needed: restart the worker, and it goes on where it stood.

    \b
    Example:
        freshlens dead-letters accept --records 10000
    """
    store = context.store()
    paused = faults.paused_workers(store)
    if unknown := sorted(set(workers) - paused.keys()):
        raise NotFound(f"not paused: {', '.join(unknown)}; paused are: {', '.join(paused) or 'none'}")
    for worker in workers or sorted(paused):
        faults.accept(store, worker, records)
        record(context, "accept-dead-letters", worker, code=paused[worker].code, records=records)
        click.echo(f"{worker} goes on; it was paused by {paused[worker].code}: {paused[worker].reason}")
    if not paused:
        click.echo("no worker is paused")


def replayer(context: Context) -> Callable[[Found], Replay | None]:
    """Makes the replay of one letter; None, and the reason on stderr, where it is refused."""
    store, registry = context.store(), open_registry(context.kafka())
    declaration_of = TenantDirectory(store).declaration
    now_ms, env = time.time_ns() // 1_000_000, Environment(context.environ)
    horizon_ms = tombstone_ms(env)
    env.finish()

    def replay(found: Found) -> Replay | None:
        try:
            raw = dead_letters.original(found.letter, store)
            return dead_letters.replay_of(
                found.letter, raw, declaration_of, registry, now_ms=now_ms, horizon_ms=horizon_ms
            )
        except InvalidRecord as error:
            click.echo(f"{found.id}: {error.code}: {error.message}", err=True)
            return None

    return replay


def _selection(
    context: Context,
    ids: tuple[str, ...],
    code: str | None,
    product_id: str | None,
    since: int | None,
    until: int | None,
) -> Selection:
    product = product_key(context.tenant, product_id) if product_id else None
    return Selection(frozenset(ids), code, product, since, until)


def _table(letters: Iterable[Found]) -> Table:
    """Three columns, of which the last wraps: it is to be read at 80 characters."""
    table = Table(Column("id", no_wrap=True), Column("failed", no_wrap=True), "what and why", box=None, pad_edge=False)
    for found in letters:
        told = _summary(found)
        tried = f"from {told['from']}, attempts: {told['attempts']}"
        what = f"{told['code']} {told['product']}\n{told['reason']}\n{tried}"
        table.add_row(found.id, told["failed"].removesuffix("+00:00").replace("T", " "), escape(what))
    return table


def _summary(found: Found) -> dict[str, Any]:
    letter, source = found.letter, found.letter.source
    return {
        "id": found.id,
        "failed": datetime.fromtimestamp(letter.failed_at / 1e6, UTC).isoformat(timespec="seconds"),
        "code": letter.code,
        "product": str(found.product or ""),
        "from": f"{source.topic}[{source.partition}]@{source.offset}",
        "attempts": letter.attempts,
        "reason": letter.reason,
    }
