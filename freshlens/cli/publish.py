"""``freshlens publish`` and ``freshlens delete``."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from freshlens.cli.context import Context
from freshlens.client import Client
from freshlens.publishing import (
    Decided,
    DecisionReader,
    Following,
    Sender,
    count_products,
    locate_beside,
    read_products,
)
from schemas.answers import LookedUp
from schemas.progress import token_of
from topics.clients import DELIVERED_WITHIN_S
from topics.publisher import Publisher
from topics.tenants import TenantDirectory

SHOWN_MAX = 20
_LOOKUP_IDS = 500

wait_option = click.option("--wait", is_flag=True, help="Return when every event is decided and searchable.")
timeout_option = click.option("--timeout", "timeout_s", default=900.0, show_default=True, help="Seconds for --wait.")


@click.command("publish")
@click.argument("source", type=click.Path(exists=True, allow_dash=True, path_type=Path))
@click.option("--hot", is_flag=True, help="Ahead of everything that is queued: for a few products that cannot wait.")
@wait_option
@timeout_option
@click.pass_obj
def publish_command(context: Context, source: Path, hot: bool, wait: bool, timeout_s: float) -> None:
    """Publish products: a file of JSON lines, a folder of pictures, or - for standard input.

    A picture's path is relative to the file. With --wait it prints how many are searchable, ignored (an older
    version) and rejected, and ends with exit code 1 if any was rejected.

    \b
    Example:
        freshlens publish products.jsonl --wait
    """
    is_stdin = str(source) == "-"
    folder = Path.cwd() if is_stdin else source if source.is_dir() else source.parent
    count = None if is_stdin else count_products(source)
    volatile = frozenset(TenantDirectory(context.store()).declaration(context.tenant).volatile)
    locate = locate_beside(folder)

    def send(sender: Sender, told: Callable[[], None]) -> None:
        for name, line in read_products(sys.stdin.buffer if is_stdin else source):
            sender.send_line(name, line, tenant=context.tenant, volatile=volatile, locate=locate)
            told()

    _publish(context, count, send, wait=wait, timeout_s=timeout_s, hot=hot)


@click.command("delete")
@click.argument("product_ids", nargs=-1, required=True, metavar="ID...")
@click.option("--version", type=int, help="Version of the deletion; default: the broker's time.")
@wait_option
@timeout_option
@click.pass_obj
def delete_command(
    context: Context, product_ids: tuple[str, ...], version: int | None, wait: bool, timeout_s: float
) -> None:
    """Delete products. With --wait: exit code 1 and the winning version if one is still there.

    \b
    Example:
        freshlens delete shirt-1 shirt-2 --wait
    """

    def send(sender: Sender, told: Callable[[], None]) -> None:
        for product_id in product_ids:
            sender.send_delete(context.tenant, product_id, version)
            told()

    _publish(context, len(product_ids), send, wait=wait, timeout_s=timeout_s, deleting=True)


def _publish(
    context: Context,
    count: int | None,
    send: Callable[[Sender, Callable[[], None]], None],
    *,
    wait: bool,
    timeout_s: float,
    deleting: bool = False,
    hot: bool = False,
) -> None:
    kafka = context.kafka()
    following = Following()
    reader = DecisionReader(kafka, following) if wait else None
    publisher = Publisher(kafka, store=context.store())
    sender = Sender(publisher, following, hot=hot)
    began = time.monotonic()
    with _progress() as progress:
        published = progress.add_task("published", total=count)
        send(sender, lambda: progress.advance(published))
        handed = progress.tasks[published].completed
        publisher.close(DELIVERED_WITHIN_S, lambda left: progress.update(published, completed=handed - left))
        progress.update(published, completed=handed)
        if reader is not None:
            deadline = time.monotonic() + timeout_s
            decided = progress.add_task("decided", total=count)
            while following.undecided() and time.monotonic() < deadline:
                progress.update(decided, completed=len(following.decided()) + len(sender.failed))
                time.sleep(0.05)
            progress.update(decided, completed=len(following.decided()) + len(sender.failed))
            reader.stop()
    count = len(following.positions) + len(sender.failed)
    token = token_of(following.positions).encode()
    known = [*sender.failed, *following.decided()]
    if not wait:
        _report(count, time.monotonic() - began, Counter(published=count - len(sender.failed)), sender.failed, token)
        sys.exit(1 if sender.failed else 0)
    counts, complaints = _judged(context, known, token, timeout_s, deleting=deleting)
    counts["undecided"] += following.undecided()
    _report(count, time.monotonic() - began, counts, complaints, token)
    sys.exit(1 if counts["rejected"] or counts["undecided"] or (deleting and counts["still there"]) else 0)


def _judged(
    context: Context, decided: Sequence[Decided], token: str, timeout_s: float, *, deleting: bool
) -> tuple[Counter[str], list[Decided]]:
    """Ask the index what it made of the records: an event whose rank lost was ignored."""
    counts: Counter[str] = Counter()
    complaints: list[Decided] = []
    with context.client() as client:
        states = _states(client, sorted({each.key.product_id for each in decided if each.ranks}), token, timeout_s)
    for each in decided:
        outcome, complaint = _outcome(each, states.get(each.key.product_id), deleting=deleting)
        counts[outcome] += 1
        if complaint is not None:
            complaints.append(complaint)
    return counts, complaints


def _states(client: Client, ids: Sequence[str], token: str, timeout_s: float) -> dict[str, LookedUp]:
    states: dict[str, LookedUp] = {}
    wait_ms = int(min(timeout_s, 30) * 1000)
    for start in range(0, len(ids), _LOOKUP_IDS):
        found = client.lookup(ids[start : start + _LOOKUP_IDS], min_offset=token, wait_ms=wait_ms)
        states.update({state.product_id: state for state in found.products})
    return states


def _outcome(decided: Decided, state: LookedUp | None, *, deleting: bool) -> tuple[str, Decided | None]:
    if decided.rejected is not None:
        return "rejected", decided
    if decided.waiting:
        return "waiting for pictures", None
    if state is None or decided.ranks is None:
        return "undecided", None
    winner = state.content_version
    if deleting:
        if not state.visible:
            return "gone", None
        return "still there", Decided(decided.name, decided.key, rejected=f"version {winner} wins over the deletion")
    return ("ignored" if _lost(decided.ranks, state) else "searchable" if state.visible else "applied"), None


def _lost(ranks: Any, state: LookedUp) -> bool:
    """Whether every group of the record lost against what the index holds."""
    deleted = state.deleted_version
    groups = [(ranks.content, state.content_version), (ranks.offer, state.offer_version)]
    return all(
        rank is None
        or (deleted is not None and rank.version <= deleted)
        or (current is not None and rank.version < current)
        for rank, current in groups
    )


def _report(count: int, seconds: float, counts: Counter[str], complaints: Sequence[Decided], token: str) -> None:
    summary = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number) or "nothing"
    click.echo(f"{summary} of {count:,} in {seconds:.1f} s ({count / max(seconds, 1e-9):,.0f}/s)")
    for complaint in complaints[:SHOWN_MAX]:
        click.echo(f"  {complaint.name} ({complaint.key.product_id}): {complaint.rejected}", err=True)
    if len(complaints) > SHOWN_MAX:
        click.echo(f"  … and {len(complaints) - SHOWN_MAX:,} more", err=True)
    click.echo(f"read token {token}")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:>9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=not sys.stderr.isatty(),
    )
